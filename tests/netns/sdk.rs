//! The official Python SDK does the tutorial against a cend whose cloud is real.
//!
//! ```text
//!  idc-host ─ idc (gatewayd) ══ wan ══ cloud (gatewayd) ─ hangzhou-router ─ hangzhou-host
//!                                        │ socket               │ cen
//!                  SDK ─ API ─ cend ─────┴───────────────── cen-fabric ─ cen ─ hongkong-router ─ hongkong-host
//! ```
#[path = "../sdk/venv.rs"]
mod venv;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::gatewayd::Gatewayd;
use crate::lab::{Process, TestNamespace, cable, eventually, may_make_namespaces};

/// What tests/sdk/tutorial.py gives to CreateVpnConnection.
const PSK: &str = "Tut0rial~!@#$%^&*()_-+={}[]|;:,.<>/?";
const IDC: &str = "10.1.1.0/24";
/// From the API's reply to what the kernel has.
const PROGRAMMED_WITHIN: Duration = Duration::from_secs(3);
const CEND_ROUTES: &str = "-o route show table all proto 202";

/// A VPC's router, which cend programs, with one host behind it.
struct Vpc {
    region: &'static str,
    number: u8,
    router: TestNamespace,
    host: TestNamespace,
}

impl Vpc {
    fn new(region: &'static str, number: u8, fabric: &TestNamespace) -> Self {
        let (router, host) = (forwarder(region), TestNamespace::new("host"));
        let (inner, outer) = (format!("192.168.{number}.1/24"), format!("192.168.{number}.10/24"));
        cable(&router, ("vpc", &inner), &host, ("eth0", &outer));
        host.ip(&format!("route add default via 192.168.{number}.1"));
        let (own, other) = (format!("100.64.{number}.2/30"), format!("100.64.{number}.1/30"));
        cable(&router, ("cen", &own), fabric, (region, &other));
        Self { region, number, router, host }
    }

    fn configuration(&self) -> String {
        let Self { region, number, router, .. } = self;
        // The script puts every character that is awkward to sign into the names of its VPCs.
        format!(
            "[[vpc]]\nregion = \"{region}\"\nname = \"{region} é*~ /+=&\"\ncidr = \"192.168.{number}.0/24\"\n\
             namespace = \"{}\"\nrouter_device = \"cen\"\nrouter_address = \"100.64.{number}.2\"\n\
             fabric_device = \"{region}\"\nfabric_address = \"100.64.{number}.1\"\n",
            router.name
        )
    }

    fn address(&self) -> String {
        format!("192.168.{}.10", self.number)
    }

    fn kernel_has(&self, destination: &str, expected: bool) {
        let what = format!("route {destination} in {}: {expected}", self.region);
        let has = || self.router.ip(CEND_ROUTES).lines().any(|line| line.split(' ').next() == Some(destination));
        eventually(PROGRAMMED_WITHIN, &what, || has() == expected);
    }
}

fn forwarder(role: &str) -> TestNamespace {
    let namespace = TestNamespace::new(role);
    let settings = ["net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"];
    namespace.exec(&[&["sysctl", "-qw"], &settings[..]].concat());
    namespace
}

fn write_secretly(path: &Path, text: &str) {
    fs::write(path, text).expect("a configuration");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its mode");
}

/// The script with the SDK, which waits after each stage.
struct Script {
    process: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Script {
    fn start(mut command: Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("Python starts");
        let input = process.stdin.take();
        let output = BufReader::new(process.stdout.take().expect("its output"));
        Self { process, input, output }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    /// Waits until the script has reached a stage; its own error is on the standard error when it has not.
    fn reaches(&mut self, stage: &str) {
        assert_eq!(self.line(), format!("stage {stage}"));
    }

    fn go_on(&mut self) {
        self.input.as_mut().expect("its input").write_all(b"\n").expect("the script waits");
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

struct Lab {
    idc_host: TestNamespace,
    _idc: Gatewayd,
    cloud: Gatewayd,
    hangzhou: Vpc,
    hongkong: Vpc,
    fabric: TestNamespace,
    cend: Option<Process>,
    folder: TempDir,
}

impl Lab {
    fn up() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (idc, cloud, fabric) = (forwarder("idc"), forwarder("cloud"), forwarder("cen-fabric"));
        let idc_host = TestNamespace::new("idc-host");
        cable(&idc, ("lan", "10.1.1.1/24"), &idc_host, ("eth0", "10.1.1.10/24"));
        idc_host.ip("route add default via 10.1.1.1");
        cable(&idc, ("wan", "198.51.100.2/24"), &cloud, ("wan", "198.51.100.1/24"));
        let (hangzhou, hongkong) = (Vpc::new("cn-hangzhou", 4, &fabric), Vpc::new("cn-hongkong", 3, &fabric));
        cable(&cloud, ("vpc", "100.64.0.2/30"), &hangzhou.router, ("vpn", "100.64.0.1/30"));

        let mut idc = Gatewayd::new(idc, &folder.path().join("idc"));
        // It waits: what brings the tunnel up is the cloud's connection, made with EffectImmediately.
        idc.configure(&format!(
            "local_addresses = [\"198.51.100.2\"]\n[[connection]]\nname = \"cloud\"\npeer = \"198.51.100.1\"\n\
             psk = '{PSK}'\nstart = \"wait\"\nlocal_subnets = \"{IDC}\"\npeer_subnets = \"192.168.0.0/16\"\n\
             [[route]]\ndestination = \"192.168.0.0/16\"\nconnection = \"cloud\"\n"
        ));
        let mut cloud = Gatewayd::new(cloud, &folder.path().join("cloud"));
        cloud.configure("local_addresses = [\"198.51.100.1\"]\ninner_addresses = [\"100.64.0.2/32\"]\n");
        idc.start();
        cloud.start();
        let mut lab = Self { idc_host, _idc: idc, cloud, hangzhou, hongkong, fabric, cend: None, folder };
        lab.start_cend();
        lab
    }

    fn start_cend(&mut self) {
        let path = self.folder.path().join("cend.toml");
        write_secretly(
            &path,
            &format!(
                "listen = \"127.0.0.1:0\"\nstate = \"{}\"\n[[access_key]]\nid = \"sdk\"\nsecret = \"secret\"\n\
                 [fabric]\nnamespace = \"{}\"\n[[vpn_gateway]]\nregion = \"cn-hangzhou\"\nname = \"gateway\"\n\
                 public_address = \"198.51.100.1\"\nnamespace = \"{}\"\ninner_address = \"100.64.0.2\"\n\
                 router_address = \"100.64.0.1\"\nsocket = \"{}\"\n{}{}",
                self.folder.path().join("cend").display(),
                self.fabric.name,
                self.cloud.namespace.name,
                self.cloud.path("socket"),
                self.hangzhou.configuration(),
                self.hongkong.configuration(),
            ),
        );
        let words = [env!("CARGO_BIN_EXE_cend"), "--config", &path.display().to_string()];
        self.cend = Some(Process::start(&self.fabric, &self.folder.path().join("cend.log"), &words));
        eventually(Duration::from_secs(5), "cend listens", || self.endpoint().is_some());
    }

    fn endpoint(&self) -> Option<String> {
        let log = fs::read_to_string(self.folder.path().join("cend.log")).ok()?;
        let (_, rest) = log.split_once("cend listens on http://")?;
        Some(rest.split_once('\n')?.0.trim().to_owned())
    }

    /// The same command, inside the namespace in which cend listens.
    fn beside_cend(&self, command: &Command) -> Command {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.fabric.name]).arg(command.get_program()).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside.env("CEND_ENDPOINT", self.endpoint().expect("cend listens"));
        inside.env("CEND_KEY_ID", "sdk").env("CEND_KEY_SECRET", "secret");
        inside
    }

    /// Whether the data centre's host reaches the host of a VPC.
    fn pings(&self, vpc: &Vpc) -> bool {
        self.idc_host.succeeds(&["ping", "-c", "1", "-W", "1", &vpc.address()])
    }

    /// Packets that came out of the cloud's tunnel, as its gatewayd counts them.
    fn through_the_tunnel(&self) -> u64 {
        let connections = self.cloud.ask(&["connections"]).expect("an answer");
        connections[0]["child_sas"][0]["inbound"]["packets"].as_u64().expect("a number")
    }
}

#[test]
fn an_sdk_script_brings_up_a_tunnel_and_routes_in_the_kernels() {
    let Some(python) = venv::python("tunnel.py") else { return };
    if !may_make_namespaces("an_sdk_script_brings_up_a_tunnel_and_routes_in_the_kernels") {
        return;
    }
    let lab = Lab::up();
    let mut script = Script::start(lab.beside_cend(&python));

    script.reaches("attached");
    lab.hongkong.kernel_has("192.168.4.0/24", true);
    assert!(!lab.pings(&lab.hangzhou), "the VPC has no way back yet");
    script.go_on();

    script.reaches("published");
    lab.hangzhou.kernel_has(IDC, true);
    lab.hongkong.kernel_has(IDC, true);
    let before = lab.through_the_tunnel();
    assert!(lab.pings(&lab.hangzhou), "the VPC of the VPN gateway");
    assert!(lab.pings(&lab.hongkong), "a VPC that learned the route");
    assert!(lab.hangzhou.host.succeeds(&["ping", "-c", "1", "-W", "1", "10.1.1.10"]), "and back");
    eventually(PROGRAMMED_WITHIN, "the pings came through the tunnel", || lab.through_the_tunnel() >= before + 3);
    script.go_on();

    script.reaches("withdrawn");
    lab.hongkong.kernel_has(IDC, false);
    assert!(lab.pings(&lab.hangzhou), "withdrawing leaves the VPC's own entry");
    assert!(!lab.pings(&lab.hongkong), "what was withdrawn is gone");
    script.go_on();

    script.reaches("cleaned-up");
    for vpc in [&lab.hangzhou, &lab.hongkong] {
        eventually(PROGRAMMED_WITHIN, "no route of cend is left", || vpc.router.ip(CEND_ROUTES).is_empty());
    }
    eventually(PROGRAMMED_WITHIN, "gatewayd has no connection left", || {
        lab.cloud.ask(&["connections"]).is_some_and(|list| list.as_array().is_some_and(Vec::is_empty))
    });
    script.go_on();
    assert_eq!(script.line(), "tunnel passed");
}
