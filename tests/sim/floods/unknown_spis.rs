//! A peer that has not noticed that the gateway has restarted is to be told so (RFC 7296 2.21.4), whatever else comes on IKE
//! SAs that there are not.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipsec_gateway::crypto::fake::SeededEntropy;
use ipsec_gateway::ike::{Config, Endpoint, Output, Peer, Start};
use ipsec_gateway::wire::ike::{ExchangeType, Flags, Header, IkeSpi, encode_message};

use super::strangers::{path, rubbish, sent, spi};
use super::{WARRIOR, connection};
use crate::setup::{LEFT, RIGHT, RIGHT_ADDRESS, address, token_secret};

/// A gateway that takes any peer, as it is after so many starts.
fn gateway(starts: u64, now: Instant) -> Endpoint {
    let any = connection(RIGHT, |any| (any.peer, any.peer_id) = (Peer::Any, None));
    let config = Config::new(vec![Arc::new(any)]);
    let endpoint = Endpoint::new(Arc::new(config), Box::new(SeededEntropy::new(starts)), now);
    endpoint.with_token_secret(Some(token_secret(RIGHT)))
}

/// The gateway's end of a path to this peer.
fn from(peer: IpAddr) -> ipsec_gateway::ike::Path {
    path(SocketAddr::new(address(RIGHT_ADDRESS), 500), SocketAddr::new(peer, 500))
}

/// The SPIs of an IKE SA that the gateway had with the warrior.
fn lost_ike_sa(now: Instant) -> (IkeSpi, IkeSpi) {
    let warrior = connection(LEFT, |warrior| (warrior.local_address, warrior.start) = (None, Start::Now));
    let mut warrior =
        Endpoint::new(Arc::new(Config::new(vec![Arc::new(warrior)])), Box::new(SeededEntropy::new(3)), now);
    warrior.handle_timeout(now);
    let request = sent(&mut warrior).pop().expect("a request");
    let mut former = gateway(1, now);
    former.handle_datagram(&request, from(address(WARRIOR)), now).expect("a good request");
    let answer = Header::parse(&sent(&mut former).pop().expect("an answer")).expect("a message");
    (answer.initiator_spi, answer.responder_spi)
}

fn answers(gateway: &mut Endpoint) -> usize {
    let outputs = std::iter::from_fn(|| Some(gateway.poll_output()).filter(|it| !matches!(it, Output::Timeout(_))));
    outputs.filter(|output| matches!(output, Output::Transmit(_))).count()
}

/// How many of a hundred requests on it get an answer, in ten seconds with so many datagrams of a flood each millisecond, whose
/// addresses are forged, and in a second at most of which those are answered.
fn told(flood: u32, message: impl Fn(u32) -> Vec<u8>) -> (usize, usize) {
    let mut now = Instant::now();
    let (initiator, responder) = lost_ike_sa(now);
    let mut gateway = gateway(2, now);
    let (mut told, mut others) = (0, 0);
    for number in 0..10_000 * flood {
        if number.is_multiple_of(flood) {
            now += Duration::from_millis(1);
        }
        let anywhere = IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 | number.wrapping_mul(0x9e37_79b1) >> 8));
        let _ = gateway.handle_datagram(&message(number), from(anywhere), now);
        others += answers(&mut gateway);
        if number % (100 * flood) == 50 * flood {
            let _ = gateway.handle_datagram(&rubbish(initiator, responder, 60), from(address(WARRIOR)), now);
            told += answers(&mut gateway);
        }
    }
    (told, others)
}

#[test]
fn requests_on_ike_sas_that_never_were_take_no_answer_from_who_has_lost_one() {
    for flood in [1, 20] {
        let (told, others) = told(flood, |number| rubbish(spi(number), spi(number ^ 0x5555), 100));
        assert_eq!(told, 100, "{flood} a millisecond");
        assert!(others <= 1_200, "{others} answers to the flood in ten seconds");
    }
}

#[test]
fn headers_alone_get_no_answer() {
    let flags = Flags { initiator: true, ..Flags::default() };
    let header = |number: u32| Header::new(spi(number), spi(number ^ 7), ExchangeType::INFORMATIONAL, flags, 1);
    let (told, others) = told(1, |number| encode_message(&header(number), &[]).expect("a header"));
    assert_eq!((told, others), (100, 0));
}
