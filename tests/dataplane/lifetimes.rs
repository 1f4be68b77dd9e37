//! Lifetimes in packets and bytes, from gatewayd.toml through the wiring and the loops to what IKE is told.

use crate::gateway::{Gateway, RING};
use crate::packets::udp;
use ipsec_gateway::crypto::fake::SeededEntropy;
use ipsec_gateway::crypto::{Secret, Suite, encryption};
use ipsec_gateway::daemon::command_ring::CommandRing;
use ipsec_gateway::daemon::config::Config;
use ipsec_gateway::daemon::connections::{Change, ConnectionIds, InForce};
use ipsec_gateway::daemon::wiring::path_mtu::Paths;
use ipsec_gateway::daemon::wiring::{Channels, Wiring};
use ipsec_gateway::dataplane::command::OutboundCommand;
use ipsec_gateway::dataplane::drop::DropReason;
use ipsec_gateway::dataplane::fib::Fib;
use ipsec_gateway::ike::{self, ChildSa, Command, Event, SaKeys, SaLimit};
use ipsec_gateway::io::device::memory::MemoryLink;
use ipsec_gateway::wire::ike::TrafficSelector;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

const NETWORKS: [&str; 2] = ["10.1.0.0/16", "10.2.0.0/16"];
const SPIS: [u32; 2] = [0xc000_0001, 0xc000_0002];
/// Bytes of an inner packet.
const PACKET: u64 = 1000;

/// One gateway: its loops and the wiring that commands them.
struct End {
    gateway: Gateway,
    wiring: Wiring,
}

impl End {
    fn new(side: usize, lifetime: &str, sink: MemoryLink, source: MemoryLink) -> Self {
        let text = format!(
            "[[connection]]\nname = \"idc\"\npeer = \"192.0.2.{}\"\nlocal_id = \"gw\"\npsk = \"x\"\n\
             local_subnets = \"{}\"\npeer_subnets = \"{}\"\n{lifetime}\n",
            2 - side,
            NETWORKS[side],
            NETWORKS[1 - side]
        );
        let config = Config::parse(&text, Path::new("gatewayd.toml")).unwrap();
        let tunnel = &config.connections[0];
        let (name, esp_options) = (Arc::clone(tunnel.name()), tunnel.esp_options);
        let configured = InForce { name, place: 0, ike: tunnel.ike(None), esp_options };
        let mut gateway = Gateway::new(sink, source);
        let ids = Arc::new(ConnectionIds::default());
        let fib = Fib::new([(NETWORKS[1 - side].parse().unwrap(), vec![ids.id(&"idc".into())])]);
        gateway.command_outbound(OutboundCommand::SetFib(Arc::new(fib)));
        // The wiring takes the place of the test as who commands the loops.
        let outbound = std::mem::replace(&mut gateway.outbound_commands, rtrb::RingBuffer::new(1).0);
        let inbound = std::mem::replace(&mut gateway.inbound_commands, rtrb::RingBuffer::new(1).0);
        let channels = Channels {
            outbound: Arc::new(CommandRing::new(outbound)),
            inbound: CommandRing::new(inbound),
            ids,
            notices: tokio::sync::mpsc::channel(1024).0,
        };
        let paths = Paths::new(1500, Duration::from_secs(600), Arc::default(), Box::new(|_, _| Ok(1500)));
        let mut wiring = Wiring::new(channels, paths, Box::new(SeededEntropy::new(side as u64)));
        wiring.configure(&Change { set: vec![configured], ..Change::default() });
        wiring.event(Event::ChildInstalled(Box::new(child_sa(side))), Instant::now());
        let activated = Event::ChildOutboundActivated {
            connection: "idc".into(),
            association: ike::AssociationId(1),
            inbound_spi: SPIS[side],
            outbound_spi: SPIS[1 - side],
        };
        wiring.event(activated, Instant::now());
        Self { gateway, wiring }
    }

    /// Which limit of its pair IKE is told of now.
    fn limit(&mut self) -> Option<SaLimit> {
        let commands = self.wiring.activity(Instant::now());
        commands.iter().find_map(|command| match command {
            Command::LimitReached { limit, .. } => Some(*limit),
            _ => None,
        })
    }
}

fn child_sa(side: usize) -> ChildSa {
    let key =
        |spi: u32| SaKeys { encryption_key: Secret::new(vec![spi as u8; 20]), integrity_key: Secret::new(Vec::new()) };
    let selectors = |side: usize| vec![TrafficSelector::from_net(NETWORKS[side].parse().unwrap())];
    let address = |side: usize| format!("192.0.2.{}:4500", side + 1).parse().unwrap();
    ChildSa {
        connection: "idc".into(),
        association: ike::AssociationId(1),
        peer_id: "idc.example".parse().unwrap(),
        child: "idc".into(),
        inbound_spi: SPIS[side],
        outbound_spi: SPIS[1 - side],
        suite: Suite::new(&encryption::AES128_GCM_16, None).unwrap(),
        esn: true,
        inbound_keys: key(SPIS[side]),
        outbound_keys: key(SPIS[1 - side]),
        local_selectors: selectors(side),
        peer_selectors: selectors(1 - side),
        encapsulation: ike::Encapsulation::Udp,
        path: ike::Path { local: address(side), peer: address(1 - side), non_esp_marker: true },
    }
}

/// Carries packets from the first end to the second until the end that has the lifetime says that its SA is used up. At
/// which packet that end asked for a rekey, and how many packets arrived.
fn carried(lifetime: &str, holder: usize) -> (u64, u64) {
    let links = [MemoryLink::new(RING), MemoryLink::new(RING)];
    let lifetimes = |side: usize| if side == holder { lifetime } else { "" };
    let mut ends = [0, 1].map(|side| {
        let (sink, source) = (links[side].clone(), links[1 - side].clone());
        End::new(side, lifetimes(side), sink, source)
    });
    let (mut rekey, mut arrived) = (0, 0);
    for sent in 1..=3000 {
        ends[0].gateway.offer(&udp("10.1.0.1", "10.2.0.1", PACKET as usize - 28, sent));
        ends[0].gateway.run_outbound();
        ends[1].gateway.run_inbound(&links[0]);
        arrived += ends[1].gateway.delivered().len() as u64;
        assert_eq!(ends[1 - holder].limit(), None, "the other end has no such lifetime");
        match ends[holder].limit() {
            None => {}
            Some(SaLimit::Soft) => {
                assert_eq!((rekey, arrived), (0, u64::from(sent)), "a rekey is asked for once, while all is carried");
                rekey = u64::from(sent);
            }
            Some(SaLimit::Hard) => {
                // What comes after the limit is dropped and counted.
                ends[0].gateway.offer(&udp("10.1.0.1", "10.2.0.1", PACKET as usize - 28, sent + 1));
                ends[0].gateway.run_outbound();
                ends[1].gateway.run_inbound(&links[0]);
                assert!(ends[1].gateway.delivered().is_empty());
                assert!(ends[holder].gateway.dropped(DropReason::SaExhausted) >= 1);
                return (rekey, arrived);
            }
        }
    }
    panic!("the lifetime never ended");
}

#[test]
fn a_lifetime_asks_for_a_rekey_before_it_ends() {
    for holder in [0, 1] {
        for (lifetime, packets) in
            [("child_lifetime_packets = 1000", 1000), ("child_lifetime_bytes = 1_000_000", 1_000_000 / PACKET)]
        {
            let (rekey, arrived) = carried(lifetime, holder);
            assert_eq!(arrived, packets, "{lifetime}");
            assert!((packets * 8 / 10..=packets * 9 / 10 + 1).contains(&rekey), "{lifetime}: a rekey at {rekey}");
        }
    }
}
