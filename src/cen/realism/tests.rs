use super::*;
use crate::cen::command::{
    ChildInstance, CreateCen, CreateRouteEntry, CreateVSwitch, CreateVpc, DeleteRouteEntry, PublishedRoute,
};
use crate::cen::identifier::RouteEntryId;
use crate::cen::network::{Host, NetworkId, Tag, VpcName};
use crate::cen::publish::publish_status;
use crate::cen::resource::{ResourceId, TagResources};

const VPC: &str = "vpc-1";
const TABLE: &str = "vtb-1";

/// A cloud, a clock that the test moves, and what is under way.
struct World {
    state: Arc<State>,
    realism: Realism,
    now: u64,
}

impl World {
    fn new(delay: u64) -> Self {
        let mut realism = Realism::default();
        realism.set(Settings { delay, ..Settings::default() });
        let mut state = State::default();
        let vpc = VpcName { region: "cn-hangzhou".into(), name: String::new() };
        let host = Host { vpc, address: [192, 168, 4, 9].into() };
        let mut declarations = crate::cen::network::Declarations::default();
        declarations.instances.insert("i-1".into(), host);
        apply(&mut state, &Change::Declared(Box::new(declarations)));
        Self { state: Arc::new(state), realism, now: 1_000_000 }
    }

    /// As the service does it: begun, and done at once.
    fn write(&mut self, codes: &[Busy], command: Command) -> Result<(), String> {
        let submission = Submission { command, client_token: None, dry_run: false, now: UnixMillis(self.now) };
        self.realism.begin(codes, &self.state, &submission).map_err(|refusal| refusal.code.into_owned())?;
        for change in plan(&self.state, &submission).expect("what may begin may be done") {
            apply(Arc::make_mut(&mut self.state), &change);
        }
        Ok(())
    }

    fn view(&self) -> View {
        self.realism.view(UnixMillis(self.now))
    }

    fn shown(&self) -> Arc<State> {
        self.view().shown(&self.state)
    }

    fn status(&self, kind: Kind, id: &str) -> String {
        self.view().status(kind, id, "settled").to_owned()
    }

    fn vpc(&mut self) {
        let create = CreateVpc {
            id: VPC.into(),
            router: "vrt-1".into(),
            route_table: TABLE.into(),
            service_entry: "rte-service".into(),
            region: "cn-hangzhou".into(),
            cidr: "192.168.0.0/16".parse().unwrap(),
            name: String::new(),
            description: String::new(),
            tags: Vec::new(),
            user_cidrs: Vec::new(),
            resource_group: String::new(),
        };
        self.write(&[TASK_CONFLICT], Command::CreateVpc(create)).unwrap();
    }

    fn vswitch(&mut self) -> Result<(), String> {
        let create = CreateVSwitch {
            id: "vsw-1".into(),
            system_entry: "rte-vsw-1".into(),
            vpc: VPC.into(),
            zone: "cn-hangzhou-b".into(),
            cidr: "192.168.4.0/24".parse().unwrap(),
            name: String::new(),
            description: String::new(),
            tags: Vec::new(),
        };
        self.write(&[TASK_CONFLICT, VSWITCH_STATUS], Command::CreateVSwitch(create))
    }

    fn cen(&mut self) {
        let create = CreateCen {
            id: "cen-1".into(),
            name: String::new(),
            description: String::new(),
            protection_level: None,
            tags: Vec::new(),
        };
        self.write(&[BLOCKING], Command::CreateCen(create)).unwrap();
    }
}

fn child() -> ChildInstance {
    ChildInstance { cen: "cen-1".into(), network: NetworkId::Vpc(VPC.into()), region: "cn-hangzhou".into() }
}

fn route() -> PublishedRoute {
    PublishedRoute { child: child(), route_table: TABLE.into(), destination: "10.0.0.0/8".parse().unwrap() }
}

fn entry() -> CreateRouteEntry {
    CreateRouteEntry {
        id: "rte-1".into(),
        route_table: TABLE.into(),
        destination: "10.0.0.0/8".parse().unwrap(),
        next_hop_type: "Instance".into(),
        next_hop: "i-1".into(),
        next_hops: Vec::new(),
        name: String::new(),
        description: String::new(),
    }
}

#[test]
fn what_is_created_is_there_at_once_and_settled_when_the_delay_has_passed() {
    let mut world = World::new(300);
    world.vpc();
    assert_eq!(world.status(Kind::Vpc, VPC), "Pending");
    assert_eq!(world.status(Kind::RouteTable, TABLE), "Pending");
    assert!(world.shown().vpcs.contains_key(VPC));
    assert_eq!(world.vswitch(), Err("TaskConflict".to_owned()));
    world.now += 299;
    assert_eq!(world.status(Kind::Vpc, VPC), "Pending");
    world.now += 1;
    assert_eq!(world.status(Kind::Vpc, VPC), "settled");
    assert_eq!(world.vswitch(), Ok(()));
    assert_eq!(
        (world.status(Kind::VSwitch, "vsw-1"), world.status(Kind::Vpc, VPC)),
        ("Pending".into(), "settled".into())
    );
}

#[test]
fn what_is_deleted_is_shown_until_then_and_keeps_what_it_stands_in() {
    let mut world = World::new(300);
    world.vpc();
    world.now += 300;
    world.vswitch().unwrap();
    world.now += 300;
    let delete_vswitch = || Command::DeleteVSwitch { vswitch: "vsw-1".into() };
    let delete_vpc = || Command::DeleteVpc { vpc: VPC.into() };
    let before = world.shown();
    world.write(&[VSWITCH_STATUS], delete_vswitch()).unwrap();
    assert!(world.state.vswitches.is_empty(), "it is done at once, for kernels and for a restart");
    assert_eq!(world.shown(), before, "and shown as it was");
    assert_eq!(world.status(Kind::RouteEntry, "rte-vsw-1"), "Deleting");
    assert_eq!(world.write(&[VSWITCH_STATUS], delete_vswitch()), Err("IncorrectVSwitchStatus".to_owned()));
    assert_eq!(world.write(&[VPC_STATUS], delete_vpc()), Err("DependencyViolation.VSwitch".to_owned()));
    world.now += 300;
    assert!(world.shown().vswitches.is_empty());
    world.write(&[VPC_STATUS], delete_vpc()).unwrap();
    assert!(world.shown().vpcs.contains_key(VPC) && world.shown().route_tables.contains_key(TABLE));
    world.now += 300;
    assert_eq!(world.shown(), world.state);
}

#[test]
fn attachments_entries_and_publications_go_through_their_states() {
    let mut world = World::new(300);
    world.vpc();
    world.cen();
    let attach = || Command::AttachNetwork(child());
    let codes = [CEN_STATUS, BLOCKING, CHILD_STATUS, VPC_OF_CHILD];
    assert_eq!(
        world.write(&codes[1..], attach()),
        Err("OperationFailed.InvalidVpcStatus".to_owned()),
        "a code about what is not ready"
    );
    world.now += 300;
    world.vswitch().unwrap();
    world.now += 300;
    world.write(&codes, attach()).unwrap();
    assert_eq!(world.status(Kind::Attachment, VPC), "Attaching");
    world.now += 300;
    world.write(&[TASK_CONFLICT], Command::CreateRouteEntry(entry())).unwrap();
    assert_eq!(world.status(Kind::RouteEntry, "rte-1"), "Pending");
    let publish = || Command::PublishRoute(route());
    assert_eq!(world.write(&[BLOCKING, CEN_STATUS], publish()), Err("Operation.Blocking".to_owned()));
    world.now += 300;
    world.write(&[BLOCKING, CEN_STATUS], publish()).unwrap();
    let published = |state: &State| {
        let (_, entry) = state.route_entry("rte-1").unwrap();
        publish_status(state, &NetworkId::Vpc(VPC.into()), entry).api_name()
    };
    assert_eq!((published(&world.state), published(&world.shown())), ("Published", "NonPublished"));
    assert_eq!(
        world.write(&[CEN_STATUS], Command::WithdrawRoute(route())),
        Err("InvalidOperation.CenInstanceStatus".to_owned())
    );
    world.now += 300;
    assert_eq!(published(&world.shown()), "Published");
    let delete = DeleteRouteEntry::ById(RouteEntryId::from("rte-1"));
    world.write(&[TASK_CONFLICT], Command::DeleteRouteEntry(delete)).unwrap();
    assert_eq!(
        (world.status(Kind::RouteEntry, "rte-1").as_str(), published(&world.shown())),
        ("Deleting", "Published")
    );
    world.now += 300;
    let before = world.shown();
    world.write(&[CEN_STATUS], Command::DetachNetwork(child())).unwrap();
    assert_eq!(world.status(Kind::Attachment, VPC), "Detaching");
    assert_eq!(world.shown().attachments, before.attachments);
    assert_eq!(
        world.write(&[CEN_STATUS], Command::DeleteCen { cen: "cen-1".into() }),
        Err("InvalidOperation.CenInstanceStatus".to_owned())
    );
    world.now += 300;
    assert_eq!(world.shown(), world.state);
}

#[test]
fn an_action_without_codes_and_tags_are_kept_waiting_by_nothing() {
    let mut world = World::new(300);
    world.vpc();
    let resources = vec![ResourceId::Vpc(VPC.into())];
    let tag = TagResources { resources, tags: vec![Tag { key: "a".into(), value: "b".into() }] };
    world.write(&[], Command::TagResources(tag.clone())).unwrap();
    world.write(&[TASK_CONFLICT], Command::TagResources(tag)).unwrap();
    world.now += 300;
    assert_eq!(world.status(Kind::Vpc, VPC), "settled");
}

#[test]
fn a_clock_that_is_set_back_a_write_that_fails_and_switching_off_leave_nothing_under_way() {
    let mut world = World::new(300);
    world.vpc();
    world.now -= 1;
    assert_eq!(world.status(Kind::Vpc, VPC), "settled");
    world.now += 1;
    assert_eq!(world.status(Kind::Vpc, VPC), "Pending");
    world.realism.abandon(Begun(0));
    assert_eq!(world.status(Kind::Vpc, VPC), "settled");
    world.cen();
    assert_eq!(world.status(Kind::Cen, "cen-1"), "Creating");
    world.realism.set(Settings::default());
    assert_eq!(world.status(Kind::Cen, "cen-1"), "settled");
}

#[test]
fn calls_under_way_are_bounded() {
    let mut realism = Realism::default();
    realism.set(Settings { delay: MAX_DELAY, ..Settings::default() });
    for number in 0..CALLS + 10 {
        let parts = vec![((Kind::Vpc, number.to_string()), Phase::Creating)];
        realism.add(parts, Arc::new([]), UnixMillis(1)).unwrap();
    }
    assert_eq!(realism.calls.len(), CALLS);
    assert_eq!(realism.view(UnixMillis(2)).status(Kind::Vpc, "9", "settled"), "settled");
    assert_eq!(realism.view(UnixMillis(2)).status(Kind::Vpc, "10", "settled"), "Pending");
}

/// Which of 400 calls are refused, each another one, and by which code.
fn refused(settings: Settings) -> Vec<Option<String>> {
    let mut realism = Realism::default();
    realism.set(settings);
    let call = |number: usize| {
        let answer = realism.chance("DeleteCen", &[CEN_STATUS, BLOCKING], &number.to_string());
        answer.err().map(|refusal| refusal.code.into_owned())
    };
    (0..400).map(call).collect()
}

#[test]
fn so_many_writes_are_refused_as_are_asked_for_and_the_seed_repeats_them() {
    let settings = Settings { busy: 0.3, seed: 7, ..Settings::default() };
    let first = refused(settings);
    assert!((90..150).contains(&first.iter().flatten().count()), "{}", first.iter().flatten().count());
    for code in ["InvalidOperation.CenInstanceStatus", "Operation.Blocking"] {
        assert!(first.iter().flatten().filter(|refused| *refused == code).count() > 30, "{code}");
    }
    assert_eq!(refused(settings), first);
    assert_ne!(refused(Settings { seed: 8, ..settings }), first);
    assert_eq!(refused(Settings { busy: 0.0, ..settings }).iter().flatten().count(), 0);
    assert_eq!(refused(Settings { busy: 1.0, ..settings }).iter().flatten().count(), 400);
}

#[test]
fn whoever_tries_again_gets_through_and_an_action_without_codes_always() {
    let mut realism = Realism::default();
    realism.set(Settings { busy: 1.0, ..Settings::default() });
    for _ in 0..3 {
        let tries: Vec<bool> = (0..4).map(|_| realism.chance("CreateVpc", &[TASK_CONFLICT], "x").is_ok()).collect();
        assert_eq!(tries, [false, false, false, true]);
    }
    assert!(realism.chance("ModifyVpnGatewayAttribute", &[], "x").is_ok());
}

#[test]
fn calls_are_counted_by_second_action_and_key() {
    let mut realism = Realism::default();
    realism.set(Settings { calls_per_second: 2, ..Settings::default() });
    let mut call = |key: &str, action, now| match realism.admit(key, action, UnixMillis(now)) {
        Ok(()) => None,
        Err(refusal) => {
            assert_eq!((refusal.http_status, &*refusal.code), (400, "Throttling.User"));
            refusal.retry_after
        }
    };
    assert_eq!([call("a", "X", 5000), call("a", "X", 5400), call("a", "X", 5999)], [None, None, Some(1)]);
    assert_eq!([call("a", "X", 5600), call("b", "X", 5600), call("a", "Y", 5600)], [Some(400), None, None]);
    assert_eq!([call("a", "X", 6000), call("a", "X", 6000), call("a", "X", 6000)], [None, None, Some(1000)]);
    assert_eq!(call("a", "X", 10), None, "the clock was set back");
}
