//! The plain backend and the sockets on a real kernel, each test in a network namespace of its own thread, which goes
//! when the thread ends.

use crate::gateway::{Agreement, CONNECTION, SPIS};
use crate::missing::skipped;
use ipsec_gateway::dataplane::acquire::Acquires;
use ipsec_gateway::dataplane::command::{InboundCommand, OutboundCommand};
use ipsec_gateway::dataplane::device::Wait;
use ipsec_gateway::dataplane::drop::{DropCounters, DropReason};
use ipsec_gateway::dataplane::fair_source::FairSource;
use ipsec_gateway::dataplane::fib::Fib;
use ipsec_gateway::dataplane::ike_queue::ike_queue;
use ipsec_gateway::dataplane::outer_header::Encapsulation;
use ipsec_gateway::dataplane::parameters::OutboundConfig;
use ipsec_gateway::dataplane::{InboundLoop, InboundPorts, OutboundLoop, OutboundPorts};
use ipsec_gateway::io::device::plain::{PlainDevice, PlainSink, PlainSource};
use ipsec_gateway::io::esp_sockets::{EspSink, EspSockets, EspSocketsConfig, EspSource};
use nix::sched::{CloneFlags, unshare};
use std::net::UdpSocket;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(5);

/// Runs a test in a namespace with a loopback, or skips it.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    let thread = std::thread::spawn(move || {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            return skipped(format_args!("a network namespace of one's own: {error}"));
        }
        if !std::path::Path::new("/dev/net/tun").exists() {
            return skipped("/dev/net/tun");
        }
        ip("link set lo up");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

pub fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().expect("iproute2");
    assert!(status.success(), "ip {arguments}");
}

type RealOutbound = OutboundLoop<FairSource<PlainSource>, PlainSink, EspSink>;
type RealInbound = InboundLoop<EspSource, PlainSink>;

/// A gateway whose peer is itself: what goes into its tunnel comes out of it again.
struct Loopback {
    outbound: RealOutbound,
    inbound: RealInbound,
    outbound_drops: Arc<DropCounters>,
    inbound_drops: Arc<DropCounters>,
}

/// `tun0` with 10.1.0.1 and a route to 10.2.0.0/16 through it; ESP goes round over the loopback.
fn loopback_gateway(encapsulation: Encapsulation) -> Loopback {
    let device = PlainDevice::open("tun0").expect("a TUN device");
    assert_eq!(device.name(), "tun0");
    ip("link set tun0 mtu 1500 up");
    ip("addr add 10.1.0.1/32 dev tun0");
    ip("route add 10.2.0.0/16 dev tun0 src 10.1.0.1");
    let sockets = EspSockets::bind(EspSocketsConfig { port: 4500, mark: None, raw: true }).expect("sockets");
    let outer = ["127.0.0.1:4500".parse().unwrap(), "127.0.0.2:4500".parse().unwrap()];
    let agreement = Agreement { encapsulation, outer, ..Agreement::default() };

    let (mut commands, outbound_commands) = rtrb::RingBuffer::new(8);
    let route = ("10.2.0.0/16".parse().unwrap(), vec![CONNECTION]);
    let install = OutboundCommand::Install(Box::new(agreement.outbound(0, SPIS)));
    for command in [install, OutboundCommand::SetFib(Arc::new(Fib::new([route])))] {
        assert!(commands.push(command).is_ok());
    }
    let outbound_drops = Arc::new(DropCounters::default());
    let ports = OutboundPorts {
        source: FairSource::new(device.source(), Arc::clone(&outbound_drops), Instant::now),
        replies: device.sink(),
        sink: sockets.sink(),
        commands: outbound_commands,
        acquires: Acquires::new().0,
        wake: Box::new(()),
        drops: Arc::clone(&outbound_drops),
    };
    let mut config = OutboundConfig::default();
    config.own_addresses.ipv4 = Some([10, 1, 0, 1].into());
    let outbound = OutboundLoop::new(ports, config);

    let (mut commands, inbound_commands) = rtrb::RingBuffer::new(8);
    assert!(commands.push(InboundCommand::Install(Box::new(agreement.inbound(1, SPIS)))).is_ok());
    let inbound_drops = Arc::new(DropCounters::default());
    let ports = InboundPorts {
        source: sockets.source().expect("an epoll instance"),
        sink: device.sink(),
        commands: inbound_commands,
        ike: ike_queue().0,
        wake: Box::new(()),
        drops: Arc::clone(&inbound_drops),
    };
    Loopback { outbound, inbound: InboundLoop::new(ports, Instant::now), outbound_drops, inbound_drops }
}

/// Runs a step until something holds.
fn until(mut step: impl FnMut(), mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "nothing came within {PATIENCE:?}");
        step();
    }
}

#[test]
fn packets_cross_a_real_tun_and_real_sockets_in_both_forms() {
    for encapsulation in [Encapsulation::Udp, Encapsulation::Raw] {
        in_namespace(move || {
            let Loopback { mut outbound, mut inbound, inbound_drops, outbound_drops } = loopback_gateway(encapsulation);
            let client = UdpSocket::bind("10.1.0.1:0").unwrap();
            client.send_to(b"through the tunnel", "10.2.0.5:53").unwrap();
            let wait = Wait::AtMost(Duration::from_millis(20));
            until(
                || {
                    outbound.run_once(wait).unwrap();
                    inbound.run_once(wait).unwrap();
                },
                || received_from("tun0") > 0,
            );
            assert_eq!(inbound_drops.iter().map(|(_, count)| count).sum::<u64>(), 0, "{encapsulation:?}");
            let lost = outbound_drops.count(DropReason::SendFailed) + outbound_drops.count(DropReason::OuterTooBig);
            assert_eq!(lost, 0);
        });
    }
}

/// Packets that the kernel got from a TUN.
pub fn received_from(device: &str) -> u64 {
    let output = Command::new("ip").args(["-s", "-j", "link", "show", device]).output().expect("iproute2");
    let links: serde_json::Value = serde_json::from_slice(&output.stdout).expect("ip writes JSON");
    links[0]["stats64"]["rx"]["packets"].as_u64().expect("a counter")
}

#[test]
fn the_kernel_learns_from_a_too_big_message_what_fits() {
    in_namespace(|| {
        let Loopback { mut outbound, outbound_drops, .. } = loopback_gateway(Encapsulation::Udp);
        let client = UdpSocket::bind("10.1.0.1:0").unwrap();
        client.send_to(&[0; 1472], "10.2.0.5:53").expect("1500 bytes fit the interface");
        until(
            || drop(outbound.run_once(Wait::AtMost(Duration::from_millis(20)))),
            || outbound_drops.count(DropReason::TooBig) > 0,
        );
        until(
            || drop(outbound.run_once(Wait::AtMost(Duration::from_millis(20)))),
            || {
                let route = Command::new("ip").args(["route", "get", "10.2.0.5"]).output().expect("iproute2");
                String::from_utf8_lossy(&route.stdout).contains("mtu 1438")
            },
        );
    });
}
