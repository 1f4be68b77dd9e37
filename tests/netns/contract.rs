//! cend and the gatewayd that it is bound to: what the API makes appears there, and stays, whoever is restarted.
//!
//! ```text
//!  API ─ cend ─ control socket ─ gatewayd (203.0.113.1) ══ wan ══ gatewayd of the data centre (203.0.113.2)
//!                                   └─ 10.254.4.2 ── 10.254.4.1 router of the VPC
//! ```
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ipsec_gateway::control::owner::{OwnerReply, RefusedKind};
use ipsec_gateway::control::request::Request;
use ipsec_gateway::io::unix::ControlClient;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::gatewayd::{GATEWAYCTL, Gatewayd};
use crate::lab::{Process, TestNamespace, cable, eventually, may_make_namespaces};

/// Within this time cend and gatewayd agree, also after one of them was away.
const AGREED_WITHIN: Duration = Duration::from_secs(10);
const PSK: &str = "a-key-for-this-test-only";
/// What the file of the cloud's gatewayd names itself.
const FILE: &str = r#"
    local_addresses = ["203.0.113.1"]
    [[connection]]
    name = "branch"
    peer = "203.0.113.77"
    psk = "another key for this test only"
    start = "wait"
    local_subnets = "192.168.4.0/24"
    peer_subnets = "10.9.0.0/24"
    [[route]]
    destination = "10.9.0.0/24"
    connection = "branch"
"#;

pub struct Lab {
    pub gatewayd: Gatewayd,
    data_center: Gatewayd,
    _router: TestNamespace,
    pub cend: Option<Process>,
    /// How often cend was started.
    starts: u32,
    vpn_gateway: String,
    vpc: String,
    folder: TempDir,
}

impl Lab {
    /// Everything runs, and the API has made a VPC and its VPN gateway.
    pub fn up() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (cloud, data_center, router) =
            (TestNamespace::new("cloud"), TestNamespace::new("idc"), TestNamespace::new("router"));
        cable(&cloud, ("wan", "203.0.113.1/24"), &data_center, ("wan", "203.0.113.2/24"));
        cable(&cloud, ("vpc", "10.254.4.2/30"), &router, ("vpn", "10.254.4.1/30"));
        let mut gatewayd = Gatewayd::new(cloud, &folder.path().join("cloud"));
        let mut data_center = Gatewayd::new(data_center, &folder.path().join("idc"));
        gatewayd.configure(FILE);
        data_center.configure(&format!(
            "local_addresses = [\"203.0.113.2\"]\n[[connection]]\nname = \"cloud\"\npeer = \"203.0.113.1\"\n\
             psk = \"{PSK}\"\nstart = \"wait\"\nlocal_subnets = \"10.1.1.0/24\"\npeer_subnets = \"192.168.4.0/24\"\n"
        ));
        gatewayd.start();
        data_center.start();
        let mut lab = Self {
            gatewayd,
            data_center,
            _router: router,
            cend: None,
            starts: 0,
            vpn_gateway: String::new(),
            vpc: String::new(),
            folder,
        };
        lab.configure_cend();
        lab.start_cend();
        lab.vpc = lab.make("CreateVpc", "VpcId", &[("CidrBlock", "192.168.4.0/24")]);
        let gateway =
            [("VpcId", &*lab.vpc), ("Name", "gateway"), ("Bandwidth", "5"), ("InstanceChargeType", "POSTPAY")];
        lab.vpn_gateway = lab.make("CreateVpnGateway", "VpnGatewayId", &gateway);
        lab
    }

    fn configure_cend(&self) {
        let path = self.folder.path().join("cend.toml");
        let (state, socket) = (self.folder.path().join("cend").display().to_string(), self.gatewayd.path("socket"));
        let text = format!(
            "listen = \"127.0.0.1:0\"\nstate = \"{state}\"\n[[access_key]]\nid = \"test\"\nsecret = \"secret\"\n\
             [[vpn_gateway]]\nregion = \"cn-hangzhou\"\nname = \"gateway\"\npublic_address = \"203.0.113.1\"\n\
             namespace = \"{}\"\ninner_address = \"10.254.4.2\"\nrouter_address = \"10.254.4.1\"\nsocket = \"{socket}\"\n",
            self.gatewayd.namespace.name
        );
        fs::write(&path, text).expect("a configuration");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    }

    /// What the last cend printed.
    fn cend_log(&self) -> String {
        fs::read_to_string(self.folder.path().join(format!("cend-{}.log", self.starts))).unwrap_or_default()
    }

    fn start_cend(&mut self) {
        self.starts += 1;
        let log = self.folder.path().join(format!("cend-{}.log", self.starts));
        let mut command = Command::new(env!("CARGO_BIN_EXE_cend"));
        command.arg("--config").arg(self.folder.path().join("cend.toml"));
        self.cend = Some(Process::spawn(command, &log));
        eventually(Duration::from_secs(5), "cend listens", || self.endpoint().is_some());
    }

    /// SIGKILL.
    fn crash_cend(&mut self) {
        let cend = self.cend.as_mut().expect("a running cend");
        cend.signal(Signal::SIGKILL);
        cend.ends_within(Duration::from_secs(2));
    }

    fn endpoint(&self) -> Option<String> {
        let log = self.cend_log();
        let line = log.lines().find_map(|line| line.strip_prefix("cend listens on "));
        line.filter(|_| log.contains('\n')).map(str::to_owned)
    }

    /// Calls the Vpc API in the region of the gateway.
    pub fn call(&self, action: &str, parameters: &[(&str, &str)]) -> Value {
        let endpoint = self.endpoint().expect("cend listens");
        let mut command = Command::new(GATEWAYCTL);
        command.args(["cloud", "--endpoint", &endpoint, "--access-key", "test:secret", "vpc", action]);
        command.args(["--RegionId", "cn-hangzhou"]);
        command.args(parameters.iter().map(|(name, value)| format!("--{name}={value}")));
        let output = command.output().expect("gatewayctl runs");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{action}: {errors}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn make(&self, action: &str, id: &str, parameters: &[(&str, &str)]) -> String {
        self.call(action, parameters)[id].as_str().expect("an id").to_owned()
    }

    /// Makes a connection to a customer gateway at `peer`.
    pub fn connect(&self, peer: &str, ike: &Value, more: &[(&str, &str)]) -> String {
        let customer_gateway = self.make("CreateCustomerGateway", "CustomerGatewayId", &[("IpAddress", peer)]);
        let ike = ike.to_string();
        let mut parameters = vec![
            ("VpnGatewayId", &*self.vpn_gateway),
            ("CustomerGatewayId", &customer_gateway),
            ("LocalSubnet", "192.168.4.0/24"),
            ("AutoConfigRoute", "false"),
            ("IkeConfig", &ike),
        ];
        parameters.extend(more);
        self.make("CreateVpnConnection", "VpnConnectionId", &parameters)
    }

    /// The `Status` of DescribeVpnConnection.
    fn status(&self, connection: &str) -> String {
        let shown = self.call("DescribeVpnConnection", &[("VpnConnectionId", connection)]);
        shown["Status"].as_str().expect("a status").to_owned()
    }

    pub fn reaches_status(&self, connection: &str, status: &str) {
        eventually(AGREED_WITHIN, &format!("status {status}"), || self.status(connection) == status);
    }

    /// The owner of each connection in gatewayd, by name; nothing while it does not answer.
    fn owners(&self) -> Vec<(String, String)> {
        let connections = self.gatewayd.ask(&["connections"]).unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rows = connections.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut owners: Vec<_> = rows.iter().map(|row| (text(&row["name"]), text(&row["owner"]))).collect();
        owners.sort();
        owners
    }

    pub fn has_owners(&self, expected: &[(&str, &str)]) {
        let mut expected: Vec<_> = expected.iter().map(|(n, o)| ((*n).to_owned(), (*o).to_owned())).collect();
        expected.sort();
        eventually(AGREED_WITHIN, &format!("gatewayd has the connections {expected:?}"), || self.owners() == expected);
    }

    /// State, publication and owner of a route in gatewayd.
    fn route(&self, destination: &str) -> Option<[String; 3]> {
        let routes = self.gatewayd.ask(&["routes"])?;
        let row = routes.as_array()?.iter().find(|row| row["destination"] == destination)?;
        Some(["state", "publication", "owner"].map(|field| row[field].as_str().unwrap_or_default().to_owned()))
    }

    /// Source and priority of a route in gatewayd.
    fn policy(&self, destination: &str) -> [Value; 2] {
        let routes = self.gatewayd.ask(&["routes"]).expect("the routes");
        let mut rows = routes.as_array().expect("a list").iter();
        let row = rows.find(|row| row["destination"] == destination).expect("the route");
        ["source", "priority"].map(|field| row[field].clone())
    }

    fn has_route(&self, destination: &str, expected: Option<[&str; 3]>) {
        let expected = expected.map(|fields| fields.map(str::to_owned));
        let what = format!("gatewayd has the route {destination} as {expected:?}");
        eventually(AGREED_WITHIN, &what, || {
            self.gatewayd.ask(&["routes"]).is_some() && self.route(destination) == expected
        });
    }

    /// `State` of a route in DescribeVpnRouteEntries.
    fn cloud_route(&self, destination: &str) -> Option<String> {
        let shown = self.call("DescribeVpnRouteEntries", &[("VpnGatewayId", &self.vpn_gateway)]);
        let rows = shown["VpnRouteEntries"]["VpnRouteEntry"].as_array().expect("a list");
        let row = rows.iter().find(|row| row["RouteDest"] == destination)?;
        Some(row["State"].as_str().expect("a state").to_owned())
    }

    /// The SPIs of both ends of the tunnel to the data centre.
    fn spis(&self, connection: &str) -> Option<[String; 2]> {
        let connections = self.gatewayd.ask(&["connections"])?;
        let row = connections.as_array()?.iter().find(|row| row["name"] == connection)?;
        let child = row["child_sas"].get(0)?;
        Some([child["inbound_spi"].to_string(), child["outbound_spi"].to_string()])
    }

    /// Why gatewayd refuses the connection.
    fn refusal(&self, connection: &str) -> Option<String> {
        let client = ControlClient::new(Path::new(&self.gatewayd.path("socket"))).expect("a client");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let reply: OwnerReply = runtime.block_on(client.call(&Request::Owner)).ok()?;
        let mut of_connections = reply.refused.into_iter().filter(|one| one.kind == RefusedKind::Connection);
        of_connections.find(|one| one.name == connection).map(|one| one.reason)
    }
}

#[test]
fn both_sides_agree_whoever_was_away() {
    if !may_make_namespaces("both_sides_agree_whoever_was_away") {
        return;
    }
    let mut lab = Lab::up();
    let more = [("RemoteSubnet", "10.1.1.0/24"), ("EffectImmediately", "true")];
    let connection = lab.connect("203.0.113.2", &json!({"Psk": PSK}), &more);
    let mut route = vec![("VpnGatewayId", &*lab.vpn_gateway), ("RouteDest", "10.1.1.0/24"), ("NextHop", &*connection)];
    route.extend([("Weight", "100"), ("PublishVpc", "true")]);
    lab.call("CreateVpnRouteEntry", &route);
    let both = [("branch", "file"), (&*connection, "cend")];
    let active = Some(["active", "published", "cend"]);
    lab.reaches_status(&connection, "ipsec_sa_established");
    lab.has_owners(&both);
    lab.has_route("10.1.1.0/24", active);
    let mut by_source = vec![("VpnGatewayId", &*lab.vpn_gateway), ("RouteSource", "192.168.4.0/25")];
    by_source.extend([("RouteDest", "10.1.1.128/25"), ("NextHop", &*connection), ("Weight", "100"), ("Priority", "7")]);
    by_source.push(("PublishVpc", "false"));
    lab.call("CreateVpnPbrRouteEntry", &by_source);
    let unpublished = Some(["active", "normal", "cend"]);
    lab.has_route("10.1.1.128/25", unpublished);
    assert_eq!(lab.policy("10.1.1.128/25"), [json!("192.168.4.0/25"), json!(7)]);
    let kernel = lab.gatewayd.namespace.ip("route show table all proto 201");
    assert!(kernel.contains("10.1.1.0/24 dev ") && kernel.contains("10.1.1.128/25 dev "), "{kernel}");
    let before = lab.spis(&connection);
    assert!(before.is_some());

    // A change beside it.
    let other = lab.connect("203.0.113.78", &json!({"Psk": "another"}), &[("RemoteSubnet", "10.8.0.0/24")]);
    lab.has_owners(&[both[0], both[1], (&other, "cend")]);
    lab.call("DeleteVpnConnection", &[("VpnConnectionId", &other)]);
    lab.has_owners(&both);
    assert_eq!(lab.spis(&connection), before, "changes beside a tunnel leave it alone");

    lab.crash_cend();
    lab.has_owners(&both);
    lab.has_route("10.1.1.0/24", active);
    lab.start_cend();
    lab.reaches_status(&connection, "ipsec_sa_established");
    eventually(AGREED_WITHIN, "cend has put its set", || lab.cend_log().contains("gatewayd has the cloud's set"));
    assert_eq!(lab.spis(&connection), before, "a restart of cend leaves tunnels alone");

    lab.gatewayd.crash();
    lab.reaches_status(&connection, "ike_sa_not_established");
    lab.gatewayd.start();
    lab.reaches_status(&connection, "ipsec_sa_established");
    lab.has_owners(&both);
    lab.has_route("10.1.1.0/24", active);
    lab.has_route("10.1.1.128/25", unpublished);
    assert_ne!(lab.spis(&connection), before);

    lab.gatewayd.crash();
    lab.call("DeleteVpnConnection", &[("VpnConnectionId", &connection)]);
    lab.gatewayd.start();
    lab.has_owners(&both[..1]);
    lab.has_route("10.1.1.0/24", None);
    lab.has_route("10.1.1.128/25", None);
    assert!(!lab.gatewayd.namespace.ip("route show table all").contains("10.1.1.0/24"), "nor is it in the kernel");
}

#[test]
fn what_gatewayd_refuses_is_answered_with_a_reason() {
    if !may_make_namespaces("what_gatewayd_refuses_is_answered_with_a_reason") {
        return;
    }
    let mut lab = Lab::up();
    let more = [("RemoteSubnet", "10.1.1.0/24"), ("EffectImmediately", "true")];
    let connection = lab.connect("203.0.113.2", &json!({"Psk": PSK, "IkeVersion": "ikev1"}), &more);
    let waiting = lab.connect("203.0.113.78", &json!({"Psk": "another"}), &[("RemoteSubnet", "10.8.0.0/24")]);
    lab.has_owners(&[("branch", "file"), (&waiting, "cend")]);
    let reason = "ikev1 is not supported; ikev2 is";
    assert_eq!(lab.refusal(&connection).as_deref(), Some(reason));
    eventually(AGREED_WITHIN, "cend logs the reason", || lab.cend_log().contains(reason));
    assert_eq!(lab.status(&connection), "ike_sa_not_established");
    // Its route cannot be served, and is protected all the same.
    let mut route = vec![("VpnGatewayId", &*lab.vpn_gateway), ("RouteDest", "10.1.1.0/24"), ("NextHop", &*connection)];
    route.extend([("Weight", "100"), ("PublishVpc", "false")]);
    lab.call("CreateVpnRouteEntry", &route);
    eventually(AGREED_WITHIN, "the kernel is closed", || {
        lab.gatewayd.namespace.ip("route show table all proto 201").contains("blackhole 10.1.1.0/24")
    });
    let version = [("VpnConnectionId", &*connection), ("IkeConfig", r#"{"IkeVersion": "ikev2"}"#)];
    lab.call("ModifyVpnConnectionAttribute", &[&version[..], &[("EffectImmediately", "true")]].concat());
    lab.reaches_status(&connection, "ipsec_sa_established");
    assert_eq!(lab.refusal(&connection), None);
    let before = lab.spis(&connection);

    // The file takes a name that the cloud has.
    let taken = FILE.replace("branch", &waiting);
    lab.gatewayd.configure(&taken);
    lab.gatewayd.ask(&["reload"]).expect("a good file");
    lab.has_owners(&[(&connection, "cend"), (&waiting, "file")]);
    assert_eq!(lab.refusal(&waiting).as_deref(), Some("gatewayd.toml has a connection of this name"));
    lab.has_route("10.8.0.0/24", None);
    assert_eq!(lab.status(&waiting), "ike_sa_not_established");
    lab.gatewayd.configure(FILE);
    lab.gatewayd.ask(&["reload"]).expect("a good file");
    lab.has_owners(&[("branch", "file"), (&connection, "cend"), (&waiting, "cend")]);
    lab.has_route("10.8.0.0/24", Some(["down", "normal", "cend"]));
    assert_eq!(lab.spis(&connection), before, "reloads leave unchanged tunnels alone");
    lab.gatewayd.process().signal(Signal::SIGTERM);
    lab.gatewayd.process().ends_within(Duration::from_secs(2));
    let there = lab.data_center.ask(&["connections"]).expect("an answer");
    assert_ne!(there[0]["state"], "established", "the peer of a connection of the cloud is told of a clean end");
}

#[test]
fn routes_of_the_file_are_shown_and_published_by_the_cloud() {
    if !may_make_namespaces("routes_of_the_file_are_shown_and_published_by_the_cloud") {
        return;
    }
    let mut lab = Lab::up();
    eventually(AGREED_WITHIN, "the cloud shows the file's route", || {
        lab.cloud_route("10.9.0.0/24").as_deref() == Some("normal")
    });
    lab.has_route("10.9.0.0/24", Some(["down", "normal", "file"]));
    let gateway = lab.vpn_gateway.clone();
    let publish = |lab: &Lab, publish: &str| {
        let route = [("VpnGatewayId", &*gateway), ("RouteDest", "10.9.0.0/24"), ("NextHop", "branch")];
        lab.call("PublishVpnRouteEntry", &[&route[..], &[("RouteType", "dbr"), ("PublishVpc", publish)]].concat());
    };
    publish(&lab, "true");
    lab.has_route("10.9.0.0/24", Some(["down", "published", "file"]));
    assert_eq!(lab.cloud_route("10.9.0.0/24").as_deref(), Some("published"));
    let vpcs = lab.call("DescribeVpcs", &[("VpcId", &lab.vpc)]);
    let table = vpcs["Vpcs"]["Vpc"][0]["RouterTableIds"]["RouterTableIds"][0].as_str().expect("a table").to_owned();
    let entries = lab.call("DescribeRouteEntryList", &[("RouteTableId", &table)]).to_string();
    assert!(entries.contains("10.9.0.0/24"), "the VPC's table has the route: {entries}");

    lab.gatewayd.crash();
    lab.gatewayd.start();
    lab.has_route("10.9.0.0/24", Some(["down", "published", "file"]));
    lab.crash_cend();
    lab.start_cend();
    publish(&lab, "false");
    lab.has_route("10.9.0.0/24", Some(["down", "normal", "file"]));
}
