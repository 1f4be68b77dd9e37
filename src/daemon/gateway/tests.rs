use super::*;
use crate::control::owner_change::OwnerChange;
use crate::daemon::gateway::load::load;
use crate::daemon::owner_keeper::Kept;
use crate::daemon::owner_set::Touched;
use crate::daemon::request_queue::RequestQueue;
use crate::dataplane::fib::{ConnectionId, Fib};
use crate::ike::AssociationId;
use crate::io::forwarding::ForwardingSettings;
use crate::io::kept_policy::KeptRoute;
use crate::io::netns::Namespace;
use crate::io::nftables::OuterPorts;
use crate::io::private_file;
use crate::io::wake::Waker;
use crate::routing::RoutePolicy;

const CONNECTION: &str = "[[connection]]\nname = \"idc\"\npeer = \"198.51.100.1\"\nlocal_id = \"gw\"\npsk = \"x\"\nstart = \"wait\"\n\
    local_subnets = \"10.1.0.0/24\"\npeer_subnets = \"10.2.0.0/24\"\n";

/// The control task's state, with an IKE thread that only listens and a kernel that is not there.
struct Lab {
    gateway: Gateway,
    requests: RequestQueue<Request>,
    folder: tempfile::TempDir,
}

impl Lab {
    async fn new(text: &str) -> Self {
        Self::after(text, Share::default()).await
    }

    /// A start that finds what the cloud protected before, and not its set.
    async fn after(text: &str, cend_before: Share) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gatewayd.toml");
        private_file::replace(&path, text.as_bytes()).unwrap();
        let file = Config::load(&path).unwrap();
        let requests = RequestQueue::default();
        let namespace = Namespace::Named("gatewayd-test-has-none".into());
        let ports = OuterPorts { ike: 500, nat: 4500 };
        let settings = ForwardingSettings { namespace, ports, state: None };
        let mut gateway = Gateway {
            path,
            state: folder.path().to_owned(),
            file: Arc::new(file),
            ike: IkeHandle { requests: requests.clone(), waker: Waker::new().unwrap() },
            ids: Arc::default(),
            outbound: Arc::new(CommandRing::new(rtrb::RingBuffer::new(64).0)),
            forwarding: Forwarding::start(settings, &KeptPolicy::default()),
            events: EventLog::default(),
            view: Arc::default(),
            owner: None,
            cend_before,
            cend: Translation::default(),
            force: Force::default(),
            fibs: FibPublisher::default(),
            hurries: Hurries::default(),
            resolved: BTreeMap::new(),
            unresolved: BTreeMap::new(),
            seen: Peers::default(),
            outer_peers: watch::Sender::default(),
            stale: Stale::default(),
            shown: Shown::default(),
            turned: Vec::new(),
            lines: LineBudget::new(Instant::now()),
            conditions: Conditions::default(),
            families: watch::Sender::default(),
        };
        gateway.apply(Touched::default()).await;
        Self { gateway, requests, folder }
    }

    async fn reload(&mut self, text: &str) {
        private_file::replace(&self.folder.path().join("gatewayd.toml"), text.as_bytes()).unwrap();
        let loaded = load(&self.gateway.path, &self.gateway.file).unwrap();
        self.gateway.take_file(loaded).await;
    }

    /// What IKE was told since the last time of how long it tries.
    fn told_to_give_up_after(&self) -> Vec<std::time::Duration> {
        let asked = std::iter::from_fn(|| self.requests.next());
        let time = |request| match request {
            Request::Command(Command::GiveUpAfter(time)) => Some(time),
            _ => None,
        };
        asked.filter_map(time).collect()
    }

    async fn hear(&mut self, notice: Notice) -> SharedSet<IpAddr> {
        self.gateway.take_notices(&mut vec![notice]).await;
        self.gateway.policy().outer_peers
    }
}

#[tokio::test]
async fn how_long_ike_tries_follows_the_file_that_is_read_again() {
    let mut lab = Lab::new(CONNECTION).await;
    assert!(lab.told_to_give_up_after().is_empty(), "IKE has been started with it");
    let minute = std::time::Duration::from_secs(60);
    for (text, told) in [("retransmission_timeout = \"4m\"\n", vec![4 * minute]), ("", vec![minute * 5 / 2])] {
        lab.reload(&format!("{text}{CONNECTION}")).await;
        assert_eq!(lab.told_to_give_up_after(), told);
        lab.reload(&format!("{text}log = \"debug\"\n{CONNECTION}")).await;
        assert!(lab.told_to_give_up_after().is_empty(), "it is not news");
    }
}

#[tokio::test]
async fn where_the_peer_of_a_connection_is_that_is_gone_is_forgotten_and_not_learned_again() {
    let mut lab = Lab::new(CONNECTION).await;
    let [configured, seen] = ["198.51.100.1", "198.51.100.9"].map(|address| address.parse::<IpAddr>().unwrap());
    let at =
        |connection: &str| Notice::PeerAt { connection: connection.into(), association: AssociationId(1), peer: seen };
    assert_eq!(lab.hear(at("never there")).await, [configured].into());
    assert_eq!(lab.hear(at("idc")).await, [configured, seen].into());
    lab.reload("").await;
    assert_eq!(lab.gateway.policy().outer_peers, [].into());
    // IKE had said so before it heard that the connection is gone.
    assert_eq!(lab.hear(at("idc")).await, [].into());
    // Nothing of a former one is believed of another one of this name.
    lab.reload(CONNECTION).await;
    assert_eq!(lab.gateway.policy().outer_peers, [configured].into());
}

#[tokio::test]
async fn the_name_of_a_peer_is_looked_up_when_its_connection_is_down() {
    let named = CONNECTION.replace("198.51.100.1", "peer.example");
    let mut lab = Lab::new(&named).await;
    lab.hear(Notice::ConnectionDown { connection: "idc".into(), error: None }).await;
    lab.hear(Notice::ConnectionDown { connection: "never there".into(), error: None }).await;
    assert_eq!(lab.gateway.hurries.take().await, ["peer.example".to_owned()].into());
}

#[tokio::test]
async fn a_policy_of_a_lost_set_is_closed_until_the_cloud_tells_its_set() {
    let [destination, source] = ["10.2.0.0/24", "10.1.0.0/25"].map(|net| net.parse::<IpNet>().unwrap());
    let policy = RoutePolicy { priority: 7, source };
    let kept = KeptRoute { destination, policy, connection: "vco-1".into() };
    let before = Share { protect: [destination].into(), policies: [kept].into(), ..Share::default() };
    let route = "[[route]]\ndestination = \"10.2.0.0/24\"\nconnection = \"idc\"\n";
    let mut lab = Lab::after(&format!("{CONNECTION}{route}"), before.clone()).await;
    let connections = |lab: &Lab, source: &str| {
        let (mut fib, table) = (Fib::default(), &lab.gateway.force.table);
        let all = table.destinations().map(|(destination, _)| destination).collect();
        update_fib(&mut fib, table, &all, |name| lab.gateway.force.tunnels.known(name).map(|_| ConnectionId(1)));
        fib.connections(source.parse().unwrap(), "10.2.0.9".parse().unwrap()).to_vec()
    };
    let there = |lab: &Lab| ["10.1.0.9", "10.1.0.200"].map(|source| connections(lab, source).len());
    assert_eq!(there(&lab), [0, 1], "what the policy holds does not go through the file's route");
    assert_eq!(lab.gateway.policy().cend, before, "nor after another start");
    lab.gateway.publish_view();
    let view = lab.gateway.view.load();
    let routes: Vec<serde_json::Value> = serde_json::from_slice(&view.routes_json().unwrap()).unwrap();
    let of_cend = routes.iter().find(|route| route["owner"] == "cend").expect("the policy");
    let reason = of_cend["reason"].as_str().expect("a reason");
    assert!(reason.contains("lost") && !reason.contains("refused"), "{reason}");
    lab.reload(&format!("log = \"debug\"\n{CONNECTION}{route}")).await;
    assert_eq!(there(&lab), [0, 1]);

    let (answer, _answered) = tokio::sync::oneshot::channel();
    let change = OwnerChange { to: 1, ..OwnerChange::default() };
    lab.gateway.take_owner_change(Kept { change, twice: None, answer }).await;
    assert_eq!(there(&lab), [1, 1]);
    assert_eq!(lab.gateway.policy().cend, Share::default());
}
