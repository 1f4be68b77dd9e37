//! The kernel as judge: what it forwards of a stream is the same whether the packets came to it singly or joined. It takes
//! the super-packets apart by its own segmentation, for the device that they leave through has no offloads. And two kernels
//! talk to each other through super-packets of both directions.

use crate::kernel::{in_namespace, ip, received_from};
use crate::missing::skipped;
use crate::offload::buffer_of;
use crate::streams::{by_flow, checksums_hold, packets, steps};
use ipsec_gateway::dataplane::device::{FrameRoom, FrameSource, MAX_FRAME, PacketSink, PacketSource, Wait};
use ipsec_gateway::dataplane::fair_source::FairSource;
use ipsec_gateway::esp::Overhead;
use ipsec_gateway::io::device::offload::OffloadDevice;
use ipsec_gateway::io::device::plain::{PlainDevice, PlainSource};
use ipsec_gateway::wire::virtio_net::HEADER_LEN;
use nix::sys::socket::{setsockopt, sockopt};
use proptest::test_runner::{Config, TestRunner};
use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Few enough for the queue of the device that they leave through.
const DELIVERY: usize = 128;
/// Of the devices of the two kernels that talk to each other.
const MTU: usize = 1438;
const PATIENCE: Duration = Duration::from_secs(10);

fn set(name: &str, value: &str) {
    std::fs::write(format!("/proc/sys/net/{name}"), value).unwrap_or_else(|error| panic!("{name}: {error}"));
}

/// Takes everything that waits in a device, in its order.
fn drain(source: &mut PlainSource) -> Vec<Vec<u8>> {
    let (mut taken, mut frame) = (Vec::new(), vec![0; MAX_FRAME]);
    while let Some(len) = source.read(&mut frame, Wait::No).expect("a device that stays") {
        taken.push(frame[HEADER_LEN..len].to_vec());
    }
    taken
}

/// Delivers a stream to a device and takes what the kernel forwards of it.
fn forward(stream: &[Vec<u8>], sink: &mut impl PacketSink, out: &mut PlainSource) -> Vec<Vec<u8>> {
    let mut forwarded = Vec::new();
    for delivery in stream.chunks(DELIVERY) {
        let (mut buffer, ranges) = buffer_of(delivery);
        let _ = sink.deliver(&mut buffer, &ranges).expect("a device that stays");
        forwarded.extend(drain(out));
    }
    forwarded
}

#[test]
fn the_kernel_forwards_the_same_with_and_without_offloads() {
    in_namespace(|| {
        let plain = PlainDevice::open("plain").expect("a TUN device");
        let offload = match OffloadDevice::open("offload") {
            Ok(device) => device,
            Err(error) => {
                return skipped(format_args!("a TUN device with offloads: {error}"));
            }
        };
        let leaving = PlainDevice::open("leaving").expect("a TUN device");
        for (name, value) in
            [("ipv4/ip_forward", "1"), ("ipv4/conf/all/rp_filter", "0"), ("ipv6/conf/all/forwarding", "1")]
        {
            set(name, value);
        }
        for device in ["plain", "offload", "leaving"] {
            set(&format!("ipv4/conf/{device}/rp_filter"), "0");
            ip(&format!("link set {device} mtu 1500 up"));
        }
        ip("route add 10.1.0.0/16 dev leaving");
        ip("-6 route add fd00:1::/32 dev leaving");

        let (singly, joined) = (RefCell::new(plain.sink()), RefCell::new(offload.sink()));
        let (out, total) = (RefCell::new(leaving.source()), Cell::new(0));
        let mut runner = TestRunner::new(Config { cases: 64, failure_persistence: None, ..Config::default() });
        let outcome = runner.run(&steps(), |steps| {
            let stream = packets(&steps);
            let out = &mut *out.borrow_mut();
            let expected = forward(&stream, &mut *singly.borrow_mut(), out);
            let got = forward(&stream, &mut *joined.borrow_mut(), out);
            total.set(total.get() + expected.len());
            let of = |packets: &[Vec<u8>]| by_flow(packets.iter().map(Vec::as_slice));
            proptest::prop_assert_eq!(of(&got), of(&expected));
            Ok(())
        });
        outcome.unwrap_or_else(|failure| panic!("{failure}"));
        assert!(total.get() > 1000, "the kernel forwarded only {} packets", total.get());
        // A joined packet counts once.
        let (plain, offload) = (received_from("plain"), received_from("offload"));
        assert!(offload * 3 < plain * 2, "{offload} writes for {plain} packets");
    });
}

/// One end of the connection below: its kernel's device, and what it does, in a namespace of its own.
fn end(
    addresses: [&'static str; 2],
    devices: mpsc::SyncSender<OffloadDevice>,
    role: impl FnOnce() + Send + 'static,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        in_namespace(move || {
            // Without one, the other side sees the channel close, and that nothing is to be done.
            let Ok(device) = OffloadDevice::open("tun0") else { return };
            ip(&format!("link set tun0 mtu {MTU} up"));
            ip(&format!("addr add {} dev tun0", addresses[0]));
            ip(&format!("-6 addr add {} dev tun0 nodad", addresses[1]));
            devices.send(device).expect("a test that waits");
            role();
        });
    })
}

/// What a bridge saw.
#[derive(Default)]
struct Seen {
    frames: usize,
    packets: usize,
    segmented: usize,
    /// A packet that should not have been.
    wrong: Option<Vec<u8>>,
}

/// Carries packets from one device to the other and holds each against MTU and checksums.
fn bridge(from: &OffloadDevice, to: &OffloadDevice, done: &AtomicBool) -> Seen {
    let (mut source, mut sink, mut seen) =
        (FairSource::new(from.source(), Arc::default(), Instant::now), to.sink(), Seen::default());
    let (mut slab, mut places) = (vec![0; 256 * 1024], Vec::with_capacity(DELIVERY));
    while !done.load(Ordering::Relaxed) {
        let mut room = FrameRoom::new(&mut slab, 0, Overhead::new(8, 4, 16), &mut places);
        if !source.receive(&mut room, Wait::AtMost(Duration::from_millis(5))).expect("a device that stays") {
            continue;
        }
        seen.frames += 1;
        seen.packets += places.len();
        seen.segmented += usize::from(places.len() > 1);
        for place in &places {
            let packet = &slab[place.clone()];
            // TCP and UDP; the kernel also says a word of its own over ICMPv6.
            let protocol = if packet[0] >> 4 == 6 { packet[6] } else { packet[9] };
            if packet.len() > MTU || matches!(protocol, 6 | 17) && !checksums_hold(packet) {
                // Told at the end: the connections go on.
                seen.wrong = Some(packet.to_vec());
            }
        }
        sink.deliver(&mut slab, &places).expect("a device that stays");
    }
    seen
}

#[test]
fn two_kernels_exchange_streams_and_datagrams_through_super_packets() {
    let stream: Arc<[u8]> = (0..3_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let (devices, opened) = mpsc::sync_channel(2);
    let (ready, listening) = mpsc::sync_channel(2);
    let expected = Arc::clone(&stream);
    let server = end(["10.9.0.1/24", "fd09::1/64"], devices.clone(), move || {
        let listeners = ["10.9.0.1:5201", "[fd09::1]:5201"].map(|address| TcpListener::bind(address).expect("a port"));
        let datagrams = UdpSocket::bind("10.9.0.1:5202").expect("a port");
        ready.send(()).expect("a test that waits");
        for listener in listeners {
            let mut got = Vec::new();
            listener.accept().expect("a connection").0.read_to_end(&mut got).expect("a stream");
            assert!(got == *expected, "{} of {} bytes, or others", got.len(), expected.len());
        }
        let mut buffer = [0; 2048];
        for len in [500; 10].into_iter().chain([77]) {
            assert_eq!(datagrams.recv(&mut buffer).expect("a datagram"), len);
        }
        assert!(received_from("tun0") < 3000, "{} writes: nothing was joined", received_from("tun0"));
    });
    let Ok(first) = opened.recv_timeout(PATIENCE) else {
        return skipped("a TUN device with offloads");
    };
    listening.recv_timeout(PATIENCE).expect("a server that listens");
    let (go, start) = mpsc::sync_channel(2);
    let client = end(["10.9.0.2/24", "fd09::2/64"], devices, move || {
        start.recv_timeout(PATIENCE).expect("a bridge");
        for address in ["10.9.0.1:5201", "[fd09::1]:5201"] {
            TcpStream::connect(address).expect("a connection").write_all(&stream).expect("a stream");
        }
        let datagrams = UdpSocket::bind("10.9.0.2:0").expect("a port");
        setsockopt(&datagrams, sockopt::UdpGsoSegment, &500).expect("a kernel with UDP_SEGMENT");
        datagrams.send_to(&[7; 5077], "10.9.0.1:5202").expect("a run of datagrams");
    });
    let second = opened.recv_timeout(PATIENCE).expect("a device like the first");
    let done = AtomicBool::new(false);
    let (there, back) = thread::scope(|scope| {
        let there = scope.spawn(|| bridge(&second, &first, &done));
        let back = scope.spawn(|| bridge(&first, &second, &done));
        go.send(()).expect("a client that waits");
        let outcomes = [client.join(), server.join()];
        done.store(true, Ordering::Relaxed);
        outcomes.into_iter().for_each(|outcome| outcome.unwrap_or_else(|panic| resume_unwind(panic)));
        (there.join().expect("a bridge that holds"), back.join().expect("a bridge that holds"))
    });
    assert_eq!([&there.wrong, &back.wrong], [&None, &None]);
    assert!(there.packets > 4000 && there.segmented > 20, "{} packets in {} frames", there.packets, there.frames);
    assert!(back.packets > 0);
}
