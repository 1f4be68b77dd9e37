//! What is sent with DF and what may be fragmented, by one port and by several threads, over a loopback of a small MTU.
use std::net::{IpAddr, SocketAddr};

use ipsec_gateway::dataplane::device::Sent;
use ipsec_gateway::io::device_mtu::device_mtu;
use ipsec_gateway::io::message_batch::SendBatch;
use ipsec_gateway::io::netns::Namespace;
use ipsec_gateway::io::raw::RawSocket;
use ipsec_gateway::io::socket_message::Message;
use ipsec_gateway::io::udp::{SocketOptions, UdpSocket};

use crate::lab::{TestNamespace, may_make_namespaces};

const LOOPBACKS: [&str; 2] = ["127.0.0.1", "::1"];
/// More than the loopback takes in one packet.
const LONG: [u8; 3000] = [7; 3000];

/// Runs something in a namespace whose loopback takes packets of 1500 bytes.
fn in_a_small_world(test: &str, body: impl FnOnce() + Send) {
    if !may_make_namespaces(test) {
        return;
    }
    let namespace = TestNamespace::new("df");
    namespace.ip("link set lo mtu 1500");
    Namespace::Named(namespace.name.as_str().into()).run(body).expect("the namespace is there");
}

fn bind(address: &str) -> UdpSocket {
    UdpSocket::bind(SocketAddr::new(address.parse().expect("an address"), 0), SocketOptions::default()).expect("a port")
}

#[test]
fn a_thread_s_wish_for_df_is_not_the_other_thread_s() {
    in_a_small_world("a_thread_s_wish_for_df_is_not_the_other_thread_s", || {
        for address in LOOPBACKS {
            let (socket, receiver) = (bind(address), bind(address));
            let peer = receiver.local_address();
            let message = Message { source: peer.ip(), peer, traffic_class: 0, segment: None };
            std::thread::scope(|scope| {
                let ike =
                    || (0..20_000).for_each(|_| socket.send(&[&[1]], peer.ip(), peer, false).expect("it is sent"));
                let ike = scope.spawn(ike);
                let mut batch = SendBatch::default();
                while !ike.is_finished() {
                    let sent = socket.send_segments(&LONG, LONG.len(), message, true, &mut batch);
                    assert_eq!(
                        sent,
                        Sent { too_big: 1, ..Sent::default() },
                        "{address}: a packet with DF was fragmented"
                    );
                }
            });
        }
    });
}

#[test]
fn a_long_datagram_arrives_if_it_may_be_fragmented() {
    in_a_small_world("a_long_datagram_arrives_if_it_may_be_fragmented", || {
        for address in LOOPBACKS {
            let (sender, receiver) = (bind(address), bind(address));
            let peer = receiver.local_address();
            assert!(sender.send(&[&LONG], peer.ip(), peer, true).is_err(), "{address}: not with DF");
            sender.send(&[&LONG], peer.ip(), peer, false).expect("it is sent");
            let mut buffer = [0; 4000];
            let received = receiver.receive(&mut buffer).expect("a socket");
            assert_eq!(received.map(|received| received.len), Some(LONG.len()), "{address}");
        }
    });
}

#[test]
fn raw_esp_is_fragmented_or_refused_alike() {
    in_a_small_world("raw_esp_is_fragmented_or_refused_alike", || {
        for address in LOOPBACKS {
            let address: IpAddr = address.parse().expect("an address");
            let socket = RawSocket::bind(address, None).expect("a raw socket");
            let message =
                Message { source: address, peer: SocketAddr::new(address, 0), traffic_class: 0, segment: None };
            let mut batch = SendBatch::default();
            for (dont_fragment, too_big) in [(true, 1), (false, 0)] {
                let sent = socket.send(LONG.chunks(LONG.len()), &message, dont_fragment, &mut batch);
                assert_eq!(sent, Sent { too_big, ..Sent::default() }, "{address} {dont_fragment}");
            }
        }
    });
}

#[test]
fn the_device_tells_what_it_takes_whatever_the_kernel_believes_of_the_path() {
    in_a_small_world("the_device_tells_what_it_takes_whatever_the_kernel_believes_of_the_path", || {
        for address in LOOPBACKS {
            let address: IpAddr = address.parse().expect("an address");
            let any = if address.is_ipv4() { "0.0.0.0" } else { "::" }.parse().expect("an address");
            for local in [address, any] {
                assert_eq!(device_mtu(local, address, Some(7)).expect("a route"), 1500, "{local}");
            }
        }
        assert!(device_mtu("0.0.0.0".parse().expect("an address"), [192, 0, 2, 1].into(), None).is_err(), "no route");
    });
}
