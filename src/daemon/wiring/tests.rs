//! The wiring between the rings of the data threads.

mod associations;
mod pairs;

use std::net::IpAddr;
use std::path::Path as FilePath;

use super::*;
use crate::crypto::fake::SeededEntropy;
use crate::crypto::{Secret, Suite, encryption};
use crate::daemon::config::{Config, EspOptions};
use crate::daemon::connections::InForce;
use crate::dataplane::acquire::Acquire;
use crate::dataplane::facts::InstallError;
use crate::ike::{self, SaKeys};
use crate::wire::ike::TrafficSelector;
use crate::wire::ip::{Flow, Ports, protocol};
use crate::wire::quoted::{QuotedPacket, QuotedTransport, TooBig};

struct Bench {
    wiring: Wiring,
    outbound: rtrb::Consumer<OutboundCommand>,
    inbound: rtrb::Consumer<InboundCommand>,
    notices: mpsc::Receiver<Notice>,
}

/// Paths over a device of 1500 bytes.
fn paths() -> Paths {
    Paths::new(1500, Duration::from_secs(600), Arc::default(), Box::new(|_, _| Ok(1500)))
}

fn bench(start: &str) -> Bench {
    bench_with(start, 64)
}

fn config(start: &str) -> Config {
    let text = format!(
        "[[connection]]\nname = \"idc\"\npeer = \"203.0.113.2\"\nlocal_id = \"gw\"\npsk = \"x\"\nstart = \"{start}\"\n\
         [[connection.child]]\nname = \"one\"\nlocal_subnets = \"10.1.0.0/24\"\npeer_subnets = \"10.2.0.0/24\"\n\
         [[connection.child]]\nname = \"two\"\nlocal_subnets = \"10.1.0.0/24\"\npeer_subnets = \"10.3.0.0/24\"\n"
    );
    Config::parse(&text, FilePath::new("gatewayd.toml")).unwrap()
}

/// The connection, or what is in force of it while its peer's address is not known.
fn in_force(ike: Option<Arc<ike::Connection>>) -> InForce {
    InForce { name: "idc".into(), place: 0, ike, esp_options: EspOptions::default() }
}

/// With rings that hold so many commands.
fn bench_with(start: &str, room: usize) -> Bench {
    let (outbound_ring, outbound) = rtrb::RingBuffer::new(room);
    let (inbound_ring, inbound) = rtrb::RingBuffer::new(room);
    let (sender, notices) = mpsc::channel(16_384);
    let channels = Channels {
        outbound: Arc::new(CommandRing::with_offers(outbound_ring, 0)),
        inbound: CommandRing::with_offers(inbound_ring, 0),
        ids: Arc::default(),
        notices: sender,
    };
    let mut wiring = Wiring::new(channels, paths(), Box::new(SeededEntropy::new(7)));
    wiring.configure(&Change { set: vec![in_force(config(start).connections[0].ike(None))], ..Change::default() });
    Bench { wiring, outbound, inbound, notices }
}

fn sa(inbound_spi: u32) -> ChildSa {
    let suite = Suite::new(encryption::by_name("aes128gcm16").unwrap(), None).unwrap();
    let keys = || SaKeys { encryption_key: Secret::new(vec![7; 20]), integrity_key: Secret::new(Vec::new()) };
    let net = |net: &str| vec![TrafficSelector::from_net(net.parse().unwrap())];
    let address = |address: &str| address.parse().unwrap();
    ChildSa {
        connection: "idc".into(),
        association: AssociationId(1),
        peer_id: "peer.example".parse().unwrap(),
        child: "one".into(),
        inbound_spi,
        outbound_spi: inbound_spi + 1,
        suite,
        esn: true,
        inbound_keys: keys(),
        outbound_keys: keys(),
        local_selectors: net("10.1.0.0/24"),
        peer_selectors: net("10.2.0.0/24"),
        encapsulation: ike::Encapsulation::Udp,
        path: Path { local: address("198.51.100.2:4500"), peer: address("203.0.113.2:4500"), non_esp_marker: true },
    }
}

impl Bench {
    /// IKE has negotiated a pair.
    fn install(&mut self, sa: ChildSa) {
        self.event(Event::ChildInstalled(Box::new(sa)));
    }

    /// IKE says that a pair is to be sent on.
    fn activate(&mut self, inbound_spi: u32) {
        self.event(Event::ChildOutboundActivated {
            connection: "idc".into(),
            association: AssociationId(1),
            inbound_spi,
            outbound_spi: inbound_spi + 1,
        });
    }

    /// IKE says that a pair is not to be sent on any more.
    fn retire(&mut self, inbound_spi: u32) {
        self.event(Event::ChildOutboundRetired {
            connection: "idc".into(),
            association: AssociationId(1),
            inbound_spi,
        });
    }

    /// IKE has negotiated a pair, and it is to be sent on at once.
    fn up(&mut self, sa: ChildSa) {
        let inbound_spi = sa.inbound_spi;
        self.install(sa);
        self.activate(inbound_spi);
    }

    fn remove(&mut self, inbound_spi: u32, reason: Removal) {
        self.event(Event::ChildRemoved {
            connection: "idc".into(),
            association: AssociationId(1),
            child: "one".into(),
            inbound_spi,
            outbound_spi: inbound_spi + 1,
            reason,
        });
    }

    fn sends(&self, inbound_spi: u32) -> bool {
        self.wiring.pairs[&inbound_spi].sending
    }

    fn event(&mut self, event: Event) {
        self.wiring.event(event, Instant::now());
        self.wiring.tell_news();
    }

    /// A regular look, when IKE has these associations.
    fn look(&mut self, there: &[u64]) {
        self.wiring.forget_gone(|association| there.contains(&association.0));
        self.wiring.tell_news();
    }

    /// Where peers were said to be so far, and which ones are gone.
    fn peers(&mut self) -> Vec<String> {
        let told = std::iter::from_fn(|| self.notices.try_recv().ok());
        let of_peers = told.filter_map(|notice| match notice {
            Notice::PeerAt { association, peer, .. } => Some(format!("{association} at {peer}")),
            Notice::PeerGone { association, .. } => Some(format!("{association} gone")),
            _ => None,
        });
        of_peers.collect()
    }

    /// What IKE is told of a pair that could not be installed.
    fn refusal(&mut self) -> Option<(u32, String)> {
        match self.wiring.next_answer()? {
            Command::InstallFailed { inbound_spi, reason } => Some((inbound_spi, reason)),
            other => panic!("{other:?}"),
        }
    }

    /// The notices so far, by what matters of them.
    fn notices(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Ok(notice) = self.notices.try_recv() {
            match notice {
                Notice::ChildUp(ChildOf { child, .. }) => told.push(format!("{child} up")),
                Notice::ChildDown(ChildOf { child, .. }, _) => told.push(format!("{child} down")),
                Notice::Carries { up, .. } => told.push(format!("carries {up}")),
                _ => {}
            }
        }
        told
    }
}

#[test]
fn a_packet_asks_for_every_connection_but_those_that_wait_for_the_peer() {
    for (start, destination, child) in [
        ("on-traffic", "10.3.0.9", Some("two")),
        ("on-traffic", "10.9.0.9", None),
        ("now", "10.3.0.9", Some("two")),
        ("wait", "10.3.0.9", None),
    ] {
        let bench = bench(start);
        let connection = bench.wiring.channels.ids.id(&Arc::from("idc"));
        let flow = Flow {
            source: "10.1.0.9".parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: protocol::UDP,
            ports: Ports::Known { source: 40_000, destination: 53 },
        };
        let asked = match bench.wiring.acquire(&Acquire { connection, flow }) {
            Some(Command::Acquire { child, packet: Some((from, to)), .. }) => {
                assert_eq!((from.start_port, to.end_port, to.start), (40_000, 53, flow.destination));
                Some(child)
            }
            _ => None,
        };
        assert_eq!(asked.as_deref(), child, "{start} {destination}");
    }
}

#[test]
fn a_peer_that_only_swallows_packets_is_asked_half_a_second_later_and_every_two_seconds() {
    let mut bench = bench("now");
    bench.up(sa(1000));
    let pair = bench.wiring.pairs.get_mut(&1000).unwrap();
    let installed = pair.installed;
    let at = |tenths: u64| installed + Duration::from_millis(100 * tenths);
    assert!(!pair.goes_unanswered(None, None, at(600)), "nothing was sent");
    assert!(!pair.goes_unanswered(Some(at(640)), Some(at(641)), at(642)), "a packet that will be answered");
    assert!(!pair.goes_unanswered(Some(at(643)), Some(at(660)), at(661)), "the one before was answered");
    let asked = |pair: &mut Pair, sent: Option<u64>, tenths: std::ops::Range<u64>| {
        let asks = |now: &u64| pair.goes_unanswered(Some(at(643)), Some(at(sent.unwrap_or(*now))), at(*now));
        tenths.filter(asks).collect::<Vec<_>>()
    };
    assert_eq!(asked(pair, None, 662..720), [665, 685, 705], "packets go on");
    assert_eq!(asked(pair, Some(704), 720..800), [0; 0], "none was sent since");
    assert!(!pair.goes_unanswered(Some(at(800)), Some(at(799)), at(801)), "it answers");
    assert!(!pair.goes_unanswered(Some(at(800)), Some(at(802)), at(806)));
    assert!(pair.goes_unanswered(Some(at(800)), Some(at(802)), at(807)), "one packet that nobody answers");
}

#[test]
fn a_silent_pair_is_down_for_routes_and_stays_up_otherwise() {
    let mut bench = bench("now");
    bench.up(sa(1000));
    bench.up(sa(2000));
    let told = |bench: &mut Bench| {
        let notices = std::iter::from_fn(|| bench.notices.try_recv().ok());
        let carries = notices.filter_map(|notice| match notice {
            Notice::Carries { up, .. } => Some(up),
            Notice::ChildDown(..) | Notice::ConnectionDown { .. } => panic!("{notice:?}"),
            _ => None,
        });
        let carries = carries.last();
        let commands = std::iter::from_fn(|| bench.outbound.pop().ok());
        let silent = commands.filter_map(|command| match command {
            OutboundCommand::SetSilent { inbound_spi, silent } => Some((inbound_spi, silent)),
            _ => None,
        });
        (carries, silent.collect::<Vec<_>>())
    };
    told(&mut bench);
    let silent = |inbound_spis: &[u32]| Event::PathSilent {
        connection: "idc".into(),
        inbound_spis: inbound_spis.to_vec(),
        since: Instant::now(),
    };
    bench.event(silent(&[1000]));
    assert_eq!(told(&mut bench), (Some(true), vec![(1000, true)]), "another pair carries");
    bench.event(silent(&[1000, 2000]));
    assert_eq!(told(&mut bench), (Some(false), vec![(2000, true)]));
    bench.up(sa(3000));
    assert_eq!(told(&mut bench).0, Some(true), "a new pair");
    bench.remove(3000, Removal::Closed);
    assert_eq!(told(&mut bench).0, Some(false));
    bench.event(Event::PathAnswers { connection: "idc".into(), inbound_spis: vec![2000] });
    assert_eq!(told(&mut bench), (Some(true), vec![(2000, false)]));
    bench.remove(2000, Removal::Closed);
    assert_eq!(told(&mut bench).0, Some(false), "the silent one is left");
}

/// What the data threads were told of path MTUs, outbound and inbound alike.
fn told_mtus(bench: &mut Bench) -> Vec<(IpAddr, u16)> {
    let mut told = Vec::new();
    while let Ok(command) = bench.outbound.pop() {
        if let OutboundCommand::SetPathMtu { peer, mtu } = command {
            told.push((peer, mtu));
        }
    }
    let mut inbound = Vec::new();
    while let Ok(command) = bench.inbound.pop() {
        if let InboundCommand::SetPathMtu { peer, mtu } = command {
            inbound.push((peer, mtu));
        }
    }
    assert_eq!(told, inbound);
    told
}

/// An ICMP message about a packet of 1500 bytes from us to the peer, as far as it is told.
fn about(source: &str, destination: &str, transport: QuotedTransport, mtu: u32) -> TooBig {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    TooBig { mtu, packet: QuotedPacket { source, destination, total_len: 1500, transport } }
}

#[test]
fn only_an_icmp_message_about_a_packet_of_ours_is_believed() {
    let (us, peer) = ("198.51.100.2", "203.0.113.2");
    let udp = |source, destination, first| QuotedTransport::Udp { source, destination, first };
    let mut bench = bench("now");
    bench.up(sa(1000));
    told_mtus(&mut bench);
    let forged = [
        about(us, peer, udp(4500, 4500, Some(1000)), 1400),
        about(us, peer, udp(4500, 4500, Some(7)), 1400),
        about(us, peer, udp(4501, 4500, Some(1001)), 1400),
        about(us, peer, udp(4500, 4501, None), 1400),
        about(us, peer, udp(500, 500, None), 1400),
        about(us, peer, QuotedTransport::Esp { spi: 1001 }, 1400),
        about("198.51.100.3", peer, udp(4500, 4500, Some(1001)), 1400),
        about(us, "203.0.113.3", udp(4500, 4500, Some(1001)), 1400),
        about(us, peer, udp(4500, 4500, Some(1001)), 575),
        about(us, peer, udp(4500, 4500, Some(1001)), 0),
        about(us, peer, udp(4500, 4500, Some(1001)), 1500),
        about(us, peer, udp(4500, 4500, Some(1001)), 70_000),
    ];
    for told in forged {
        bench.wiring.told_too_big(&told, Instant::now());
        bench.wiring.discover_paths(Instant::now());
        assert_eq!((told_mtus(&mut bench), bench.wiring.pairs[&1000].path_mtu), (vec![], 1500), "{told:?}");
    }
    let ours = [
        about(us, peer, udp(4500, 4500, Some(1001)), 1492),
        about(us, peer, udp(4500, 4500, Some(0)), 1470),
        about(us, peer, udp(4500, 4500, None), 1400),
    ];
    for told in ours {
        bench.wiring.told_too_big(&told, Instant::now());
        bench.wiring.discover_paths(Instant::now());
        assert_eq!(told_mtus(&mut bench), [(peer.parse().unwrap(), told.mtu as u16)], "{told:?}");
        assert_eq!(u32::from(bench.wiring.pairs[&1000].path_mtu), told.mtu);
    }
}

#[test]
fn a_new_pair_begins_with_what_is_known_of_its_path() {
    let mut bench = bench("now");
    bench.up(sa(1000));
    let told = about(
        "198.51.100.2",
        "203.0.113.2",
        QuotedTransport::Udp { source: 4500, destination: 4500, first: None },
        1400,
    );
    bench.wiring.told_too_big(&told, Instant::now());
    bench.wiring.discover_paths(Instant::now());
    told_mtus(&mut bench);
    bench.up(sa(2000));
    bench.install(sa(3000));
    let Ok(InboundCommand::Install(inbound)) = bench.inbound.pop() else { panic!("no inbound SA") };
    let Ok(OutboundCommand::Install(outbound)) = bench.outbound.pop() else { panic!("no outbound SA") };
    assert_eq!((inbound.tunnel.outer_mtu, outbound.tunnel.outer_mtu), (1400, 1400));
    // One that moves to another peer takes what that one's path takes.
    let path = Path {
        local: "198.51.100.2:4500".parse().unwrap(),
        peer: "203.0.113.9:4500".parse().unwrap(),
        non_esp_marker: true,
    };
    bench.event(Event::PathChanged { connection: "idc".into(), inbound_spis: vec![1000, 2000, 3000], path });
    assert_eq!(told_mtus(&mut bench), [(path.peer.ip(), 1500)]);
    assert_eq!(bench.wiring.pairs[&2000].path_mtu, 1500);
    // So does one that was not sent on yet.
    bench.activate(3000);
    let Ok(OutboundCommand::Install(outbound)) = bench.outbound.pop() else { panic!("no outbound SA") };
    assert_eq!((outbound.tunnel.path.peer, outbound.tunnel.outer_mtu), (path.peer, 1500));
}

#[test]
fn large_packets_have_the_path_probed_on_a_pair_that_sends() {
    let mut bench = bench("now");
    bench.up(sa(1000));
    let now = Instant::now() + Duration::from_millis(1);
    bench.wiring.activity(now);
    assert!(bench.wiring.discover_paths(now).is_empty(), "an idle pair needs no probe");
    let facts = Arc::clone(&bench.wiring.pairs[&1000].outbound);
    facts.record(1, 1400, 1, now);
    facts.record_large();
    bench.wiring.activity(now);
    let commands = bench.wiring.discover_paths(now);
    assert!(matches!(commands[..], [Command::ProbePath { inbound_spi: 1000, size: 1500 }]), "{commands:?}");
}

#[test]
fn a_child_that_is_not_configured_is_not_installed_in_the_place_of_another() {
    let mut bench = bench("now");
    let unknown = [
        (ChildSa { child: "three".into(), ..sa(1000) }, "connection idc has no child three"),
        (ChildSa { connection: "gone".into(), ..sa(1000) }, "connection gone is not configured any more"),
    ];
    for (sa, expected) in unknown {
        bench.event(Event::ChildInstalled(Box::new(sa)));
        assert!(bench.inbound.pop().is_err() && bench.outbound.pop().is_err(), "{expected}");
        assert_eq!(bench.refusal(), Some((1000, expected.to_owned())));
        assert_eq!((bench.notices(), bench.wiring.pairs.len()), (Vec::new(), 0), "nobody believes in it");
    }
}

#[test]
fn selectors_that_the_data_path_cannot_hold_are_told_to_ike() {
    let mut bench = bench("now");
    let mut sa = sa(1000);
    sa.peer_selectors[0].end = "2001:db8::1".parse().unwrap();
    bench.event(Event::ChildInstalled(Box::new(sa)));
    assert!(bench.inbound.pop().is_err() && bench.outbound.pop().is_err());
    let (spi, reason) = bench.refusal().expect("an answer");
    assert!(spi == 1000 && reason.contains("no ranges of one family"), "{reason}");
}

#[test]
fn a_full_ring_is_a_failed_installation_and_leaves_no_half_pair() {
    let mut bench = bench_with("now", 2);
    bench.up(sa(1000));
    bench.up(sa(2000));
    bench.inbound.pop().unwrap();
    bench.inbound.pop().unwrap();
    assert!(bench.wiring.next_answer().is_none());
    // There is room for the inbound SA, and none for the outbound one.
    bench.up(sa(3000));
    let Ok(InboundCommand::Install(inbound)) = bench.inbound.pop() else { panic!("no inbound SA") };
    assert_eq!(inbound.spi, 3000);
    assert!(matches!(bench.inbound.pop(), Ok(InboundCommand::Remove { spi: 3000 })), "it is taken back");
    assert_eq!(bench.refusal(), Some((3000, "the data thread does not take commands".to_owned())));
    assert!(!bench.wiring.pairs.contains_key(&3000) && bench.wiring.waiting.is_empty());
    // There is none for the inbound one.
    bench.install(sa(4000));
    bench.install(sa(5000));
    bench.install(sa(6000));
    assert_eq!(bench.refusal(), Some((6000, "the data thread does not take commands".to_owned())));
    bench.activate(6000);
    assert!(bench.refusal().is_none() && !bench.wiring.pairs.contains_key(&6000));
}

#[test]
fn what_the_data_path_says_of_a_pair_is_told_to_ike_once_each() {
    let mut bench = bench("now");
    bench.up(sa(1000));
    let facts = Arc::clone(&bench.wiring.pairs[&1000].outbound);
    let mut told = || -> Vec<String> {
        let shown = |command: Command| match command {
            Command::LimitReached { inbound_spi, limit } => format!("{limit:?} {inbound_spi}"),
            Command::InstallFailed { inbound_spi, reason } => format!("{reason} {inbound_spi}"),
            other => panic!("{other:?}"),
        };
        bench.wiring.activity(Instant::now()).into_iter().map(shown).collect()
    };
    assert_eq!(told(), Vec::<String>::new());
    facts.record_soft_limit();
    assert_eq!((told(), told()), (vec!["Soft 1000".to_owned()], Vec::new()));
    facts.record_exhausted();
    assert_eq!((told(), told()), (vec!["Hard 1000".to_owned()], Vec::new()));
    facts.record_install_error(InstallError::SpiInUse);
    let refused = "the data path refuses its outbound SA: another SA has its SPI 1000".to_owned();
    assert_eq!((told(), told()), (vec![refused], Vec::new()));
}
