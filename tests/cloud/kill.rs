//! A real cend, killed between acknowledged calls.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ipsec_gateway::io::openapi_client::signed_query;
use serde_json::Value;

/// A running cend, killed when the test ends.
pub struct Cend {
    process: Child,
    address: String,
    started_in: Duration,
}

impl Cend {
    pub fn start(state: &Path) -> Self {
        let begin = Instant::now();
        let mut process = Command::new(env!("CARGO_BIN_EXE_cend"))
            .args(["--listen", "127.0.0.1:0", "--access-key", "testak:testsk", "--state"])
            .arg(state)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("cend listens on http://").expect("the address").to_owned();
        Self { process, address, started_in: begin.elapsed() }
    }

    /// Calls an action; the HTTP status and the object that came.
    fn call(&self, action: &str, version: &str, given: &[(&str, &str)]) -> (u16, Value) {
        self.send(&signed(action, version, given))
    }

    pub fn send(&self, query: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let address = &self.address;
        let request = format!("GET /?{query} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap())
    }

    fn cbn(&self, action: &str, given: &[(&str, &str)]) -> (u16, Value) {
        self.call(action, "2017-09-12", given)
    }

    fn vpc(&self, action: &str, given: &[(&str, &str)]) -> (u16, Value) {
        self.call(action, "2016-04-28", given)
    }

    /// SIGKILL.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    fn terminate(mut self) -> std::process::ExitStatus {
        let pid = i32::try_from(self.process.id()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).unwrap();
        self.process.wait().unwrap()
    }
}

/// The query of a signed call, which may be sent more than once.
pub fn signed(action: &str, version: &str, given: &[(&str, &str)]) -> String {
    signed_query(("testak", b"testsk"), version, action, given)
}

impl Drop for Cend {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<String> = Vec::new();
    let mut fastest = Duration::MAX;
    for round in 0..8 {
        let cend = Cend::start(directory.path());
        fastest = fastest.min(cend.started_in);
        let (status, body) = cend.cbn("DescribeCens", &[("PageSize", "50")]);
        assert_eq!(status, 200, "{body}");
        let mut names: Vec<String> = body["Cens"]["Cen"]
            .as_array()
            .unwrap()
            .iter()
            .map(|cen| cen["Name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        assert_eq!(names, acknowledged, "round {round}");
        for call in 0..3 {
            let name = format!("{round}-{call}");
            let (status, body) = cend.cbn("CreateCen", &[("Name", &name)]);
            assert_eq!(status, 200, "{body}");
            acknowledged.push(name);
        }
        cend.kill();
    }
    // The fastest start, because the machine may be busy with other tests.
    assert!(fastest < Duration::from_millis(500), "ready after {fastest:?}");
}

#[test]
fn a_call_repeated_after_a_kill_has_the_effect_of_one() {
    let directory = tempfile::tempdir().unwrap();
    let parameters =
        [("RegionId", "cn-hangzhou"), ("CidrBlock", "192.168.0.0/16"), ("VpcName", "once"), ("ClientToken", "token-1")];
    let cend = Cend::start(directory.path());
    let (status, first) = cend.vpc("CreateVpc", &parameters);
    assert_eq!(status, 200, "{first}");
    cend.kill();
    let cend = Cend::start(directory.path());
    let (_, second) = cend.vpc("CreateVpc", &parameters);
    assert_eq!((&second["VpcId"], &second["RouteTableId"]), (&first["VpcId"], &first["RouteTableId"]));
    let (_, vpcs) = cend.vpc("DescribeVpcs", &[("RegionId", "cn-hangzhou")]);
    assert_eq!(vpcs["TotalCount"], 1, "{vpcs}");
}

#[test]
fn a_call_replayed_after_a_kill_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let create = signed("CreateCen", "2017-09-12", &[("Name", "once")]);
    let token = [("Name", "token"), ("ClientToken", "token-1")];
    // The second call of a token changes nothing; replayed when the CEN instance is gone, it would.
    let (first, second) = (signed("CreateCen", "2017-09-12", &token), signed("CreateCen", "2017-09-12", &token));
    let cend = Cend::start(directory.path());
    for query in [&create, &first, &second] {
        let (status, body) = cend.send(query);
        assert_eq!(status, 200, "{body}");
        assert_eq!(cend.send(query).1["Code"], "SignatureNonceUsed");
    }
    cend.kill();
    for _ in 0..2 {
        let cend = Cend::start(directory.path());
        for query in [&create, &first, &second] {
            assert_eq!(cend.send(query).1["Code"], "SignatureNonceUsed");
        }
        let (status, body) = cend.cbn("DescribeCens", &[]);
        assert_eq!((status, &body["TotalCount"]), (200, &Value::from(2)), "who calls just after a start is answered");
        cend.kill();
    }
}

#[test]
fn a_published_route_is_learned_shown_and_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let cend = Cend::start(directory.path());
    let ok = |(status, body): (u16, Value)| {
        assert_eq!(status, 200, "{body}");
        body
    };
    let id = |body: &Value, name: &str| body[name].as_str().unwrap().to_owned();
    let cen = id(&ok(cend.cbn("CreateCen", &[("Name", "cen")])), "CenId");
    let mut vpcs = Vec::new();
    for (region, cidr) in [("cn-hangzhou", "192.168.4.0/24"), ("cn-hongkong", "192.168.3.0/24")] {
        let vpc = ok(cend.vpc("CreateVpc", &[("RegionId", region), ("CidrBlock", cidr)]));
        let (vpc, table) = (id(&vpc, "VpcId"), id(&vpc, "RouteTableId"));
        let zone = format!("{region}-b");
        let vswitch = [("RegionId", region), ("VpcId", &vpc), ("CidrBlock", cidr), ("ZoneId", &zone)];
        ok(cend.vpc("CreateVSwitch", &vswitch));
        let child = [
            ("CenId", cen.as_str()),
            ("ChildInstanceId", &vpc),
            ("ChildInstanceType", "VPC"),
            ("ChildInstanceRegionId", region),
        ];
        ok(cend.cbn("AttachCenChildInstance", &child));
        vpcs.push((vpc, table, region));
    }
    let (hangzhou, hongkong) = (&vpcs[0], &vpcs[1]);
    let learned = |of: &(String, String, &str)| -> Vec<(String, String)> {
        let child = [
            ("CenId", cen.as_str()),
            ("ChildInstanceId", &of.0),
            ("ChildInstanceType", "VPC"),
            ("ChildInstanceRegionId", of.2),
            ("PageSize", "500"),
        ];
        let body = ok(cend.cbn("DescribeCenChildInstanceRouteEntries", &child));
        let routes = body["CenRouteEntries"]["CenRouteEntry"].as_array().unwrap().clone();
        let routes = routes.iter().filter(|route| route["Type"] == "CEN");
        routes.map(|route| (id(route, "DestinationCidrBlock"), id(route, "NextHopInstanceId"))).collect()
    };
    assert_eq!(learned(hongkong), [("192.168.4.0/24".to_owned(), hangzhou.0.clone())]);

    let gateway =
        [("RegionId", "cn-hangzhou"), ("VpcId", &hangzhou.0), ("Bandwidth", "10"), ("InstanceChargeType", "POSTPAY")];
    let gateway = id(&ok(cend.vpc("CreateVpnGateway", &gateway)), "VpnGatewayId");
    let entry = [
        ("RegionId", "cn-hangzhou"),
        ("RouteTableId", hangzhou.1.as_str()),
        ("DestinationCidrBlock", "10.1.1.0/24"),
        ("NextHopType", "VpnGateway"),
        ("NextHopId", &gateway),
    ];
    ok(cend.vpc("CreateRouteEntry", &entry));
    assert_eq!(cend.vpc("CreateRouteEntry", &entry).1["Code"], "InvalidCIDRBlock.Duplicate");
    assert_eq!(learned(hongkong).len(), 1);
    let route = [
        ("CenId", cen.as_str()),
        ("ChildInstanceId", &hangzhou.0),
        ("ChildInstanceType", "VPC"),
        ("ChildInstanceRegionId", "cn-hangzhou"),
        ("ChildInstanceRouteTableId", &hangzhou.1),
        ("DestinationCidrBlock", "10.1.1.0/24"),
    ];
    let status = || {
        let body = ok(cend.cbn("DescribePublishedRouteEntries", &route));
        id(&body["PublishedRouteEntries"]["PublishedRouteEntry"][0], "PublishStatus")
    };
    assert_eq!(status(), "NonPublished");
    ok(cend.cbn("PublishRouteEntries", &route));
    assert_eq!(status(), "Published");
    assert_eq!(learned(hongkong)[0], ("10.1.1.0/24".to_owned(), hangzhou.0.clone()));
    let region = [("CenId", cen.as_str()), ("CenRegionId", "cn-hongkong")];
    assert_eq!(ok(cend.cbn("DescribeCenRegionDomainRouteEntries", &region))["TotalCount"], 3);
    ok(cend.cbn("WithdrawPublishedRouteEntries", &route));
    assert_eq!(learned(hongkong).len(), 1);
    ok(cend.cbn("PublishRouteEntries", &route));
    ok(cend.vpc("DeleteRouteEntry", &entry));
    assert_eq!(learned(hongkong).len(), 1);
    assert_eq!(cend.cbn("DeleteCen", &[("CenId", &cen)]).0, 409);
    assert!(cend.terminate().success(), "SIGTERM is a clean stop");
}

#[test]
fn a_wrong_configuration_is_refused_with_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cend.toml");
    std::fs::write(&file, "log = \"info\"\nstat = \"/tmp\"\n").unwrap();
    let refused = Command::new(env!("CARGO_BIN_EXE_cend")).arg("--config").arg(&file).output().unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(!refused.status.success());
    assert!(said.contains("cend.toml:2: stat: unknown field `stat`, expected one of `listen`, `listen_tls`"), "{said}");
}
