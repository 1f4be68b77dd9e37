use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::cen::apply::apply;
use crate::cen::openapi::ACTIONS;
use crate::cen::openapi::action::{CBN, VPC};
use crate::cen::openapi::live::NoGateways;
use crate::cen::openapi::signature::{authorize_acs3, body_hash, canonical_query};
use crate::cen::plan::plan;
use crate::crypto::random::Entropy;

/// 2026-11-22T20:00:00Z.
const NOW: UnixMillis = UnixMillis(1_795_377_600_000);

/// A state in memory, changed as the real one is, how many nonces were committed, and whether a call waits once when its handler
/// has done its work.
#[derive(Default)]
struct Memory(Mutex<Arc<State>>, AtomicUsize, AtomicBool);

impl Cloud for Memory {
    fn state(&self) -> Arc<State> {
        Arc::clone(&self.0.lock().unwrap())
    }

    fn live(&self) -> Arc<dyn LiveGateways> {
        Arc::new(NoGateways)
    }

    async fn work<T: Send + 'static>(
        &self,
        _: Purpose,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, ApiError> {
        let outcome = work();
        let mut waits = self.2.load(Ordering::Relaxed);
        std::future::poll_fn(|_| match std::mem::take(&mut waits) {
            true => std::task::Poll::Pending,
            false => std::task::Poll::Ready(()),
        })
        .await;
        Ok(outcome)
    }

    async fn submit(&self, submission: Submission, _: UsedNonce) -> Result<(), ApiError> {
        let mut state = self.0.lock().unwrap();
        for change in plan(&state, &submission)? {
            apply(Arc::make_mut(&mut state), &change);
        }
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

fn service() -> Service<Memory> {
    service_of(ACTIONS)
}

fn service_of(actions: &'static [&'static [Action]]) -> Service<Memory> {
    let mut keys = AccessKeys::default();
    keys.insert("id", Secret::new(b"secret".to_vec()));
    Service::new(Memory::default(), keys, actions)
}

/// A signed request, its parameters in a form body and its action in headers.
fn request(version: &str, action: &str, parameters: &[(&str, &str)]) -> Request {
    let mut request = Request::new("POST", "");
    let mut nonce = [0; 16];
    SystemEntropy::new().fill(&mut nonce);
    request.body = canonical_query(parameters.iter().copied()).as_bytes().to_vec();
    let headers = [
        ("host", "cloud.example:80"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("x-acs-action", action),
        ("x-acs-version", version),
        ("x-acs-date", "2026-11-22T20:00:00Z"),
        ("x-acs-signature-nonce", &hex::encode(nonce)),
        ("x-acs-content-sha256", &body_hash(&request.body)),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    request.headers = headers.into();
    let authorization = authorize_acs3(&request, "id", b"secret").unwrap();
    request.headers.push(("authorization".to_owned(), authorization));
    request
}

fn call(service: &Service<Memory>, action: &str, parameters: &[(&str, &str)]) -> Response {
    block_on(service.call(request("2016-04-28", action, parameters), NOW))
}

/// The answer to a call that succeeds, without its `RequestId`.
fn answer_at(service: &Service<Memory>, now: UnixMillis, call: (&str, &str, &[(&str, &str)])) -> Value {
    let (version, action, parameters) = call;
    let mut answer = block_on(service.call(request(version, action, parameters), now));
    assert_eq!(answer.status, 200, "{action}: {}", answer.body);
    answer.body.as_object_mut().and_then(|object| object.remove("RequestId")).expect("every answer has one");
    answer.body
}

type Answering<'a> = std::pin::Pin<Box<dyn Future<Output = Response> + 'a>>;

/// Calls whose handlers have done their work, and which wait then.
fn handled<const N: usize>(service: &Service<Memory>, requests: [Request; N]) -> [Answering<'_>; N] {
    service.cloud().2.store(true, Ordering::Relaxed);
    let calls = requests.map(|request| {
        let mut call: Answering<'_> = Box::pin(service.call(request, NOW));
        let polled = call.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        assert!(polled.is_pending());
        call
    });
    service.cloud().2.store(false, Ordering::Relaxed);
    calls
}

/// Nothing here waits for anything.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("a call waited"),
    }
}

const HERE: (&str, &str) = ("RegionId", "cn-hangzhou");

#[test]
fn a_call_changes_the_state_and_the_next_one_sees_it() {
    let service = service();
    let made = call(&service, "CreateVpc", &[HERE, ("CidrBlock", "192.168.4.0/24"), ("VpcName", "x")]);
    assert_eq!(made.status, 200, "{}", made.body);
    let seen = call(&service, "DescribeVpcs", &[HERE, ("VpcName", "x")]);
    assert_eq!(seen.body["TotalCount"], 1);
    assert_eq!(seen.body["Vpcs"]["Vpc"][0]["VpcId"], made.body["VpcId"]);
    let elsewhere = call(&service, "DescribeVpcs", &[("RegionId", "cn-beijing")]);
    assert_eq!(elsewhere.body["TotalCount"], 0);
    assert_ne!(seen.body["RequestId"], made.body["RequestId"]);
}

#[test]
fn a_repeated_client_token_makes_one_vpc_and_other_parameters_are_refused() {
    let service = service();
    let create = |cidr| call(&service, "CreateVpc", &[HERE, ("CidrBlock", cidr), ("ClientToken", "once")]);
    let (first, second) = (create("10.0.0.0/16"), create("10.0.0.0/16"));
    assert_eq!(first.body["VpcId"], second.body["VpcId"]);
    assert_eq!(service.cloud().state().vpcs.len(), 1);
    assert_eq!(create("10.1.0.0/16").body["Code"], "IdempotentParameterMismatch");
    let long = "x".repeat(65);
    let refused = call(&service, "CreateVpc", &[HERE, ("ClientToken", &long)]);
    assert_eq!(refused.body["Code"], "InvalidClientToken");
}

#[test]
fn a_repeated_call_is_answered_as_the_first_whatever_has_become_of_what_it_asked_for() {
    let service = service();
    let later = UnixMillis(NOW.0 + 1000);
    let (vpc, cbn) = ("2016-04-28", "2017-09-12");
    let twice = |version: &str, action: &str, parameters: &[(&str, &str)]| {
        let parameters = [&[HERE, ("ClientToken", "once")], parameters].concat();
        let first = answer_at(&service, NOW, (version, action, &parameters));
        let state = service.cloud().state();
        assert_eq!(answer_at(&service, later, (version, action, &parameters)), first, "{action}");
        assert_eq!(service.cloud().state(), state, "{action}");
        let dry = [&parameters[..], &[("DryRun", "true")]].concat();
        assert_ne!(block_on(service.call(request(version, action, &dry), later)).status, 200, "{action}");
        first
    };
    let text = |object: &Value, name: &str| object[name].as_str().unwrap().to_owned();
    let network = twice(vpc, "CreateVpc", &[("CidrBlock", "192.168.0.0/16")]);
    let (network, table) = (text(&network, "VpcId"), text(&network, "RouteTableId"));
    let zone = ("ZoneId", "cn-hangzhou-b");
    twice(vpc, "CreateVSwitch", &[("VpcId", &network), ("CidrBlock", "192.168.1.0/24"), zone]);
    let gateway = twice(vpc, "CreateVpnGateway", &[("VpcId", &network), ("Bandwidth", "5")]);
    let gateway = text(&gateway, "VpnGatewayId");

    // Two of three are refused, for what is there before and for what the call itself brings.
    let entries = [
        ("RouteEntries.1.RouteTableId", table.as_str()),
        ("RouteEntries.1.DstCidrBlock", "10.1.0.0/16"),
        ("RouteEntries.1.NextHop", &gateway),
        ("RouteEntries.1.NextHopType", "VpnGateway"),
        ("RouteEntries.2.RouteTableId", &table),
        ("RouteEntries.2.DstCidrBlock", "10.1.0.0/16"),
        ("RouteEntries.2.NextHop", &gateway),
        ("RouteEntries.2.NextHopType", "VpnGateway"),
        ("RouteEntries.3.RouteTableId", &table),
        ("RouteEntries.3.DstCidrBlock", "192.168.1.0/24"),
        ("RouteEntries.3.NextHop", &gateway),
        ("RouteEntries.3.NextHopType", "VpnGateway"),
    ];
    let made = twice(vpc, "CreateRouteEntries", &entries);
    assert_eq!((&made["SuccessCount"], &made["FailedCount"]), (&json!(1), &json!(2)));
    let gone = twice(vpc, "DeleteRouteEntries", &entries);
    assert_eq!((&gone["SuccessCount"], &gone["FailedCount"]), (&json!(1), &json!(2)));
    twice(vpc, "DeleteVpnGateway", &[("VpnGatewayId", &gateway)]);

    let package = [("Bandwidth", "2"), ("GeographicRegionAId", "China"), ("GeographicRegionBId", "China")];
    let package = twice(cbn, "CreateCenBandwidthPackage", &package);
    let package = text(&package, "CenBandwidthPackageId");
    twice(cbn, "DeleteCenBandwidthPackage", &[("CenBandwidthPackageId", &package)]);
}

#[test]
fn a_repeated_call_is_not_handled_again_and_its_nonce_is_used() {
    static HANDLED: AtomicUsize = AtomicUsize::new(0);
    static ACTIONS: &[&[Action]] = &[&[Action {
        version: VPC,
        name: "CreateOnce",
        parameters: &[],
        handler: |_, _| match HANDLED.fetch_add(1, Ordering::Relaxed) {
            0 => Ok(Answer::Write { command: Command::Nothing, response: json!({"Made": 1}) }),
            _ => Err(ApiError::internal()),
        },
        busy: &[],
    }]];
    let service = service_of(ACTIONS);
    let committed = |n| assert_eq!(service.cloud().1.load(Ordering::Relaxed), n);
    for calls in 1..4 {
        let answer = call(&service, "CreateOnce", &[("ClientToken", "once")]);
        assert_eq!((answer.status, &answer.body["Made"]), (200, &json!(1)));
        committed(calls);
    }
    assert_eq!(HANDLED.load(Ordering::Relaxed), 1);
    assert_eq!(call(&service, "CreateOnce", &[("ClientToken", "twice")]).status, 500);
    committed(3);
}

#[test]
fn a_client_token_is_its_callers_and_its_actions() {
    let service = service();
    let create = |action, parameters: &[(&str, &str)]| {
        call(&service, action, &[&[HERE, ("ClientToken", "once")], parameters].concat())
    };
    assert_eq!(create("CreateVpc", &[("VpcName", "a")]).status, 200);
    assert_eq!(create("CreateVpc", &[("VpcName", "b")]).body["Code"], "IdempotentParameterMismatch");
    assert_eq!(create("CreateCustomerGateway", &[("IpAddress", "203.0.113.9")]).status, 200);
    // What no row names is not read, so it makes no other call.
    assert_eq!(create("CreateVpc", &[("VpcName", "a"), ("Unheard", "of")]).status, 200);
    assert_eq!(service.cloud().state().vpcs.len(), 1);
    let row = ACTIONS.iter().copied().flatten().find(|row| row.name == "CreateVpc").unwrap();
    let parameters = Parameters::parse(b"RegionId=cn-hangzhou").unwrap();
    let of = |secret: &[u8]| fingerprint(&Secret::from(secret), row, &parameters).unwrap();
    assert_eq!(of(b"secret"), of(b"secret"));
    assert_ne!(of(b"secret"), of(b"another"));
}

#[test]
fn cen_shows_what_stands_in_a_custom_route_table() {
    let service = service();
    let (vpc, cbn) = ("2016-04-28", "2017-09-12");
    let ask = |version: &str, action: &str, parameters: &[(&str, &str)]| {
        answer_at(&service, NOW, (version, action, &[&[HERE], parameters].concat()))
    };
    let text = |object: &Value, name: &str| object[name].as_str().unwrap().to_owned();
    let cen = text(&ask(cbn, "CreateCen", &[]), "CenId");
    let network = |block: &str| {
        let id = text(&ask(vpc, "CreateVpc", &[("CidrBlock", "192.168.0.0/16")]), "VpcId");
        let vswitch = [("VpcId", id.as_str()), ("CidrBlock", block), ("ZoneId", "cn-hangzhou-b")];
        ask(vpc, "CreateVSwitch", &vswitch);
        id
    };
    let (one, other) = (network("192.168.1.0/24"), network("192.168.2.0/24"));
    for id in [&one, &other] {
        let child = [("CenId", &*cen), ("ChildInstanceId", id), ("ChildInstanceType", "VPC")];
        ask(cbn, "AttachCenChildInstance", &[&child[..], &[("ChildInstanceRegionId", "cn-hangzhou")]].concat());
    }
    let table = text(&ask(vpc, "CreateRouteTable", &[("VpcId", &one)]), "RouteTableId");
    let shown = |table: &str, status: &str| {
        let child = [
            ("CenId", &*cen),
            ("ChildInstanceId", &one),
            ("ChildInstanceType", "VPC"),
            ("ChildInstanceRouteTableId", table),
            ("Status", status),
        ];
        let answer = ask(cbn, "DescribeCenChildInstanceRouteEntries", &child);
        let rows = answer["CenRouteEntries"]["CenRouteEntry"].as_array().unwrap().clone();
        assert_eq!(answer["TotalCount"], rows.len());
        let row = |row: &Value| {
            assert_eq!((&row["RouteTableId"], &row["OperationalMode"]), (&json!(table), &json!(false)));
            (text(row, "DestinationCidrBlock"), text(row, "Type"), row["PublishStatus"].as_str().map(str::to_owned))
        };
        rows.iter().map(row).collect::<Vec<_>>()
    };
    let row = |to: &str, kind: &str, status: Option<&str>| (to.to_owned(), kind.to_owned(), status.map(str::to_owned));
    let [service_network, own, learned] = [
        row("100.64.0.0/10", "System", Some("NonPublished")),
        row("192.168.1.0/24", "System", Some("NonPublished")),
        row("192.168.2.0/24", "CEN", None),
    ];
    for status in ["All", "Active"] {
        assert_eq!(shown(&table, status), [service_network.clone(), own.clone(), learned.clone()]);
    }
    assert_eq!(shown(&table, "Rejected"), []);
    ask(vpc, "ModifyRouteTableAttributes", &[("RouteTableId", &table), ("RoutePropagationEnable", "false")]);
    assert_eq!(shown(&table, "All"), [service_network, own]);
    assert_eq!(shown("vtb-another", "All"), []);
}

#[test]
fn a_gateway_is_made_in_a_resource_group_and_found_there() {
    let service = service();
    let ask = |action: &str, parameters: &[(&str, &str)]| {
        answer_at(&service, NOW, ("2016-04-28", action, &[&[HERE], parameters].concat()))
    };
    let vpc = ask("CreateVpc", &[])["VpcId"].as_str().unwrap().to_owned();
    for group in [None, Some(("ResourceGroupId", "rg-1"))] {
        let address = if group.is_some() { "203.0.113.9" } else { "203.0.113.8" };
        ask("CreateVpnGateway", &[&[("VpcId", &*vpc), ("Bandwidth", "5")][..], group.as_slice()].concat());
        ask("CreateCustomerGateway", &[&[("IpAddress", address)][..], group.as_slice()].concat());
    }
    for kind in ["VpnGateway", "CustomerGateway"] {
        for (group, count) in [("rg-1", 1), ("rg-2", 0)] {
            let found = ask(&format!("Describe{kind}s"), &[("ResourceGroupId", group)]);
            assert_eq!(found["TotalCount"], count, "{kind} in {group}");
        }
        let found = ask(&format!("Describe{kind}s"), &[("ResourceGroupId", "rg-1")]);
        assert_eq!(found[format!("{kind}s")][kind][0]["ResourceGroupId"], "rg-1");
    }
}

#[test]
fn a_dry_run_changes_nothing() {
    let service = service();
    let answer = call(&service, "CreateVpc", &[HERE, ("DryRun", "True")]);
    assert_eq!((answer.status, &answer.body["Code"]), (412, &json!("DryRunOperation")));
    assert!(service.cloud().state().vpcs.is_empty());
}

#[test]
fn errors_have_the_shape_of_the_cloud() {
    let answer = call(&service(), "DescribeVpcs", &[]);
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body["Code"], "MissingRegionId");
    assert_eq!(answer.body["Message"], "RegionId is mandatory for this action.");
    assert_eq!(answer.body["HostId"], "cloud.example:80");
    assert_eq!(answer.body["RequestId"].as_str().map(str::len), Some(36));
}

#[test]
fn actions_are_found_by_name_and_version() {
    let service = service();
    for (version, action) in
        [("2016-04-28", "MakeCoffee"), ("2017-09-12", "DescribeVpcs"), ("2016-04-28", "describevpcs")]
    {
        let answer = block_on(service.call(request(version, action, &[HERE]), NOW));
        assert_eq!((answer.status, &answer.body["Code"]), (404, &json!("InvalidApi.NotFound")));
    }
    // Parameters win over headers.
    let answer = call(&service, "MakeCoffee", &[("Action", "DescribeRegions"), ("Version", "2016-04-28")]);
    assert_eq!(answer.status, 200);
}

#[test]
fn other_formats_methods_and_paths_are_refused() {
    let service = service();
    assert_eq!(call(&service, "DescribeRegions", &[("Format", "XML")]).body["Code"], "InvalidParameter.Format");
    assert_eq!(call(&service, "DescribeRegions", &[("Format", "json")]).status, 200);
    let put = Request::new("PUT", "");
    assert_eq!(block_on(service.call(put, NOW)).body["Code"], "UnsupportedHTTPMethod");
    let unsigned = Request::new("POST", "Action=DescribeRegions&Version=2016-04-28");
    assert_eq!(block_on(service.call(unsigned, NOW)).body["Code"], "IncompleteSignature");
}

#[test]
fn every_action_of_the_table_is_there_once() {
    let mut names: Vec<_> = ACTIONS.iter().copied().flatten().map(|row| (row.version, row.name)).collect();
    let all = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn how_real_the_cloud_is_is_set_by_a_signed_call_and_shows_by_the_clock() {
    let service = service();
    let at = |now: u64, version: &str, action: &str, parameters: &[(&str, &str)]| {
        block_on(service.call(request(version, action, parameters), UnixMillis(NOW.0 + now)))
    };
    let set = at(0, "2026-11-27", "ModifyRealism", &[("Delay", "300"), ("DryRun", "true")]);
    assert_eq!((set.status, &set.body["Code"]), (412, &json!("DryRunOperation")));
    assert_eq!(at(0, "2026-11-27", "ModifyRealism", &[("Delay", "300")]).body["Delay"], 300);
    assert_eq!(at(0, "2026-11-27", "DescribeRealism", &[]).body["Delay"], 300);
    let made = at(0, "2016-04-28", "CreateVpc", &[HERE]);
    let vpc = ("VpcId", made.body["VpcId"].as_str().unwrap());
    let status = |now| at(now, "2016-04-28", "DescribeVpcAttribute", &[HERE, vpc]).body["Status"].clone();
    assert_eq!([status(0), status(299), status(300)], ["Pending", "Pending", "Available"]);
    assert_eq!(at(400, "2016-04-28", "DeleteVpc", &[vpc]).status, 200);
    assert_eq!(at(500, "2016-04-28", "DeleteVpc", &[vpc]).body["Code"], "IncorrectVpcStatus");
    assert_eq!([status(500), status(700)], [json!("Pending"), Value::Null]);
}

#[test]
fn a_throttled_call_is_told_when_to_come_again_and_a_repeated_one_is_never_refused_as_busy() {
    let service = service();
    let token = ("ClientToken", "once");
    let made = call(&service, "CreateVpc", &[HERE, token]);
    service.set_realism(Settings { busy: 1.0, calls_per_second: 3, ..Settings::default() });
    assert_eq!(call(&service, "CreateVpc", &[HERE, token]).body["VpcId"], made.body["VpcId"]);
    let refused = call(&service, "CreateVpc", &[HERE]);
    assert_eq!((refused.status, &refused.body["Code"], refused.retry_after), (400, &json!("TaskConflict"), None));
    assert_eq!(call(&service, "CreateVpc", &[HERE]).body["Code"], "TaskConflict");
    let throttled = call(&service, "CreateVpc", &[HERE]);
    let expected = (400, &json!("Throttling.User"), Some(1000));
    assert_eq!((throttled.status, &throttled.body["Code"], throttled.retry_after), expected);
    assert_eq!(service.cloud().state().vpcs.len(), 1);
    let off = [("BusyFrequency", "0"), ("CallsPerSecond", "0")];
    assert_eq!(block_on(service.call(request("2026-11-27", "ModifyRealism", &off), NOW)).status, 200);
    assert_eq!(call(&service, "CreateVpc", &[HERE]).status, 200);
}

#[test]
fn a_call_whose_caller_leaves_before_it_is_done_leaves_nothing_under_way() {
    let service = service();
    let vpc = answer_at(&service, NOW, (VPC, "CreateVpc", &[HERE]));
    let vpc = ("VpcId", vpc["VpcId"].as_str().unwrap());
    service.set_realism(Settings { delay: 300, ..Settings::default() });
    let status = || answer_at(&service, NOW, (VPC, "DescribeVpcAttribute", &[HERE, vpc]))["Status"].clone();
    let calls = handled(&service, [request(VPC, "DeleteVpc", &[vpc])]);
    assert_eq!(status(), "Pending");
    drop(calls);
    assert_eq!(status(), "Available");
    assert_eq!(call(&service, "DeleteVpc", &[vpc]).status, 200);
}

#[test]
fn of_two_calls_at_a_time_that_modify_realism_each_has_its_effect() {
    let service = service();
    let modify = |parameter| request(CEND, "ModifyRealism", &[parameter]);
    let calls = handled(&service, [modify(("Delay", "300")), modify(("CallsPerSecond", "7"))]);
    let [first, second] = calls.map(|call| block_on(call).body);
    assert_eq!((&first["Delay"], &first["CallsPerSecond"]), (&json!(300), &json!(0)));
    assert_eq!((&second["Delay"], &second["CallsPerSecond"]), (&json!(300), &json!(7)));
    assert_eq!(answer_at(&service, NOW, (CEND, "DescribeRealism", &[]))["Delay"], 300);
}

#[test]
fn a_repeated_call_is_refused_for_nothing_where_its_answer_is_not_kept() {
    let service = service();
    let made = |action, parameters: &[(&str, &str)], id| {
        let answer = answer_at(&service, NOW, (VPC, action, &[&[HERE], parameters].concat()));
        answer[id].as_str().unwrap().to_owned()
    };
    let vpc = made("CreateVpc", &[], "VpcId");
    let gateway = made("CreateVpnGateway", &[("VpcId", &vpc), ("Bandwidth", "5")], "VpnGatewayId");
    let customer = made("CreateCustomerGateway", &[("IpAddress", "203.0.113.9")], "CustomerGatewayId");
    let subnets = [("LocalSubnet", "192.168.0.0/16"), ("RemoteSubnet", "10.0.0.0/8")];
    let between = [("VpnGatewayId", gateway.as_str()), ("CustomerGatewayId", &customer)];
    let connection = made("CreateVpnConnection", &[between, subnets].concat(), "VpnConnectionId");
    let id = ("VpnConnectionId", connection.as_str());
    let modify = [HERE, id, ("Name", "new"), ("ClientToken", "once")];
    let modify = || answer_at(&service, NOW, (VPC, "ModifyVpnConnectionAttribute", &modify));

    service.set_realism(Settings { delay: 300, ..Settings::default() });
    let first = modify();
    assert!(first["IkeConfig"]["Psk"].is_string());
    service.set_realism(Settings { delay: 300, busy: 1.0, ..Settings::default() });
    let again = modify();
    assert_eq!((&again["Name"], &again["IkeConfig"]), (&json!("new"), &first["IkeConfig"]));

    service.set_realism(Settings::default());
    assert_eq!(call(&service, "DeleteVpnConnection", &[HERE, id]).status, 200);
    let state = service.cloud().state();
    assert_eq!(modify(), json!({"VpnConnectionId": connection}));
    assert_eq!(service.cloud().state(), state);
}

#[test]
fn a_client_token_in_two_products_is_two() {
    let service = service();
    let vpc = answer_at(&service, NOW, (VPC, "CreateVpc", &[HERE]));
    let cen = answer_at(&service, NOW, (CBN, "CreateCen", &[]));
    let tag = |version, kind, id: &Value| {
        let resource = [("ResourceType", kind), ("ResourceId.1", id.as_str().unwrap())];
        let tag = [HERE, ("Tag.1.Key", "a"), ("Tag.1.Value", "b"), ("ClientToken", "once")];
        answer_at(&service, NOW, (version, "TagResources", &[&resource[..], &tag].concat()));
    };
    tag(VPC, "VPC", &vpc["VpcId"]);
    tag(CBN, "CEN", &cen["CenId"]);
}
