use std::sync::mpsc;
use std::time::Duration;

use super::under_way::{CALLS, LATE};
use super::*;
use crate::cen::apply::apply;
use crate::cen::bandwidth::BandwidthPackage;
use crate::cen::command::{
    BandwidthCommand, ChildInstance, CreateCen, CreateRouteEntry, CreateVSwitch, CreateVpc, DeleteRouteEntry,
    PublishedRoute,
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
    realism: Arc<Realism>,
    now: u64,
}

impl World {
    fn new(delay: u64) -> Self {
        let realism = Arc::new(Realism::default());
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
        let begun = self.realism.begin(codes, &self.state, &submission).map_err(|refusal| refusal.code.into_owned())?;
        for change in plan(&self.state, &submission).expect("what may begin may be done") {
            apply(Arc::make_mut(&mut self.state), &change);
        }
        begun.into_iter().for_each(Begun::done);
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
fn a_write_that_fails_and_switching_off_leave_nothing_under_way() {
    let mut world = World::new(300);
    world.vpc();
    let delete = Command::DeleteVpc { vpc: VPC.into() };
    world.now += 300;
    let submission = Submission { command: delete, client_token: None, dry_run: false, now: UnixMillis(world.now) };
    let begun = world.realism.begin(&[TASK_CONFLICT], &world.state, &submission).unwrap().expect("it is under way");
    assert_eq!(world.status(Kind::Vpc, VPC), "Pending");
    drop(begun);
    assert_eq!(world.status(Kind::Vpc, VPC), "settled");
    world.cen();
    assert_eq!(world.status(Kind::Cen, "cen-1"), "Creating");
    world.realism.set(Settings::default());
    assert_eq!(world.status(Kind::Cen, "cen-1"), "settled");
}

#[test]
fn a_call_that_begins_after_a_later_one_sees_it_and_lets_it_be() {
    let mut world = World::new(300);
    world.vpc();
    world.now -= 2;
    assert_eq!(world.vswitch(), Err("TaskConflict".to_owned()));
    world.cen();
    world.now += 2;
    assert_eq!((world.status(Kind::Vpc, VPC), world.status(Kind::Cen, "cen-1")), ("Pending".into(), "Creating".into()));
    world.now -= LATE;
    assert_eq!(world.status(Kind::Vpc, VPC), "Pending");
    world.now -= 1;
    assert_eq!(world.status(Kind::Vpc, VPC), "settled", "the clock was set back");
}

#[test]
fn calls_under_way_are_bounded() {
    let realism = Realism::default();
    realism.set(Settings { delay: MAX_DELAY, ..Settings::default() });
    // Of all of these the version is what counts.
    let mut view = realism.view(UnixMillis(1));
    for number in 0..CALLS + 10 {
        let parts = vec![((Kind::Vpc, number.to_string()), Phase::Creating)];
        realism.lock().calls.begin(&view, parts, Arc::new([]), UnixMillis(1)).expect("nothing came between");
        view.version += 1;
    }
    assert_eq!(realism.lock().calls.under_way(UnixMillis(2)).1.len(), CALLS);
    assert_eq!(realism.view(UnixMillis(2)).status(Kind::Vpc, "9", "settled"), "settled");
    assert_eq!(realism.view(UnixMillis(2)).status(Kind::Vpc, "10", "settled"), "Pending");
}

#[test]
fn what_was_planned_before_something_else_began_or_was_forgotten_is_planned_again() {
    let realism = Arc::new(Realism::default());
    realism.set(Settings { delay: 300, ..Settings::default() });
    let begin = |view: &View| realism.lock().calls.begin(view, Vec::new(), Arc::new([]), UnixMillis(1));
    let view = realism.view(UnixMillis(1));
    let number = begin(&view).unwrap();
    assert_eq!(begin(&view), None);
    let view = realism.view(UnixMillis(1));
    drop(Begun { realism: Arc::clone(&realism), number, done: false });
    assert_eq!(begin(&view), None);
    let view = realism.view(UnixMillis(1));
    realism.set(Settings { delay: 200, ..Settings::default() });
    assert_eq!(begin(&view), None);
}

#[test]
fn of_writes_of_one_thing_at_a_time_one_begins() {
    let mut world = World::new(MAX_DELAY);
    world.vpc();
    for round in 1..100 {
        world.now += MAX_DELAY;
        let command = Command::DeleteVpc { vpc: VPC.into() };
        let now = UnixMillis(world.now);
        let submission = Submission { command, client_token: None, dry_run: false, now };
        let ready = std::sync::Barrier::new(2);
        let begin = || {
            ready.wait();
            world.realism.begin(&[TASK_CONFLICT], &world.state, &submission)
        };
        let begun = std::thread::scope(|scope| {
            let both = [scope.spawn(begin), scope.spawn(begin)];
            both.map(|one| one.join().unwrap())
        });
        assert_eq!(begun.iter().filter(|one| one.is_ok()).count(), 1, "round {round}");
        begun.into_iter().flatten().flatten().for_each(Begun::done);
    }
}

#[test]
fn while_nothing_is_switched_on_no_lock_is_taken() {
    let world = World::new(0);
    let _held = world.realism.lock();
    let (realism, state) = (Arc::clone(&world.realism), Arc::clone(&world.state));
    let (done, all) = mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let now = UnixMillis(1);
        let command = Command::DeleteVpc { vpc: VPC.into() };
        let submission = Submission { command, client_token: None, dry_run: false, now };
        let begun = realism.begin(&[TASK_CONFLICT], &state, &submission);
        let let_through =
            realism.admit("key", "DeleteVpc", now).and(realism.chance("DeleteVpc", &[TASK_CONFLICT], "x"));
        let off = realism.view(now).settings == realism.settings();
        // Nobody listens any more only when it came too late.
        let _ = done.send(matches!(begun, Ok(None)) && let_through.is_ok() && off);
    });
    assert_eq!(all.recv_timeout(Duration::from_secs(10)), Ok(true));
}

#[test]
fn tags_of_a_package_are_settled_at_once_and_what_else_is_modified_is_not() {
    let mut world = World::new(300);
    let package = BandwidthPackage {
        id: "cenbwp-1".into(),
        name: "former".into(),
        description: String::new(),
        bandwidth: 2,
        areas: ("China".into(), "China".into()),
        serves: None,
        months: 1,
        created: UnixMillis(0),
        tags: Vec::new(),
    };
    world.write(&[BLOCKING], Command::Bandwidth(BandwidthCommand::Create(Box::new(package)))).unwrap();
    world.now += 300;
    let id = || "cenbwp-1".into();
    let rename = BandwidthCommand::Modify { id: id(), name: Some("new".into()), description: None, bandwidth: None };
    world.write(&[BLOCKING], Command::Bandwidth(rename)).unwrap();
    let tags = vec![Tag { key: "a".into(), value: "b".into() }];
    let mut tagged = world.state.bandwidth_packages.get("cenbwp-1").unwrap().clone();
    tagged.tags.clone_from(&tags);
    apply(Arc::make_mut(&mut world.state), &Change::BandwidthPackageSet(Box::new(BandwidthPackage::clone(&tagged))));
    let shown = |world: &World| {
        let package = world.shown().bandwidth_packages.get("cenbwp-1").unwrap().clone();
        (package.name.clone(), package.tags.clone())
    };
    assert_eq!(shown(&world), ("former".to_owned(), tags.clone()));
    world.now += 300;
    assert_eq!(shown(&world), ("new".to_owned(), tags.clone()));
    world.write(&[BLOCKING], Command::Bandwidth(BandwidthCommand::Delete { id: id() })).unwrap();
    assert_eq!(shown(&world), ("new".to_owned(), tags), "also while it is deleted");
}

#[test]
fn what_is_deleted_is_shown_in_its_resource_group() {
    let mut world = World::new(300);
    world.vpc();
    let group = Change::ResourceGroupSet { resource: VPC.into(), group: "rg-1".into() };
    apply(Arc::make_mut(&mut world.state), &group);
    world.now += 300;
    world.write(&[VPC_STATUS], Command::DeleteVpc { vpc: VPC.into() }).unwrap();
    assert_eq!((world.state.resource_group(VPC), world.shown().resource_group(VPC)), ("", "rg-1"));
}

/// Which of 400 calls are refused, each another one, and by which code.
fn refused(settings: Settings) -> Vec<Option<String>> {
    let realism = Realism::default();
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
    let realism = Realism::default();
    realism.set(Settings { busy: 1.0, ..Settings::default() });
    for _ in 0..3 {
        let tries: Vec<bool> = (0..4).map(|_| realism.chance("CreateVpc", &[TASK_CONFLICT], "x").is_ok()).collect();
        assert_eq!(tries, [false, false, false, true]);
    }
    assert!(realism.chance("ModifyVpnGatewayAttribute", &[], "x").is_ok());
}

#[test]
fn calls_are_counted_by_second_action_and_key() {
    let realism = Realism::default();
    realism.set(Settings { calls_per_second: 2, ..Settings::default() });
    let call = |key: &str, action, now| match realism.admit(key, action, UnixMillis(now)) {
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
