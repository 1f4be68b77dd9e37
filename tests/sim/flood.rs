//! A flood of IKE_SA_INIT requests from everywhere: memory stays bounded, and the configured peer still connects
//! (RFC 7296 section 2.6).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipsec_gateway::ike::{Discard, Path};
use ipsec_gateway::wire::ike::{
    ExchangeType, Flags, Header, IkeSpi, KeyExchange, KeyExchangeId, Payload, Proposal, ProtocolId, Transform,
    TransformType, encode_message,
};

use crate::setup::{RIGHT, RIGHT_ADDRESS, Setup, address};
use crate::world::World;

const REQUESTS: u32 = 5_000;

/// A request that could be answered, from an address that will never answer.
fn request(number: u32) -> Vec<u8> {
    let mut spi = [7; 8];
    spi[..4].copy_from_slice(&number.to_be_bytes());
    let flags = Flags { initiator: true, ..Flags::default() };
    let header = Header::new(IkeSpi(spi), IkeSpi::ZERO, ExchangeType::IKE_SA_INIT, flags, 0);
    let transforms = [
        (TransformType::ENCRYPTION, 65_000),
        (TransformType::PSEUDORANDOM_FUNCTION, 5),
        (TransformType::KEY_EXCHANGE, 65_000),
    ];
    let proposal = Proposal {
        number: 1,
        protocol: ProtocolId::IKE,
        spi: Vec::new(),
        transforms: transforms.map(|(kind, id)| Transform::new(kind, id, None)).to_vec(),
    };
    let payloads = [
        Payload::SecurityAssociation(vec![proposal]),
        Payload::KeyExchange(KeyExchange { group: KeyExchangeId(65_000), data: vec![9; 16] }),
        Payload::Nonce(vec![5; 32]),
    ];
    encode_message(&header, &payloads).expect("a short message")
}

#[test]
fn the_peer_connects_during_a_flood() {
    // The right end accepts any peer.
    let mut world = World::new(&Setup { nat: true, ..Setup::plain() }, 1);
    world.keep_trace();
    let local = SocketAddr::new(address(RIGHT_ADDRESS), 500);
    let mut accepted = 0;
    for number in 0..REQUESTS {
        let source = IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + number));
        let path = Path { local, peer: SocketAddr::new(source, 500), non_esp_marker: false };
        let now = world.now;
        let end = &mut world.ends[RIGHT];
        let result = end.endpoint.handle_datagram(&request(number), path, now);
        accepted += u32::from(result.is_ok());
        let mut answers = 0;
        loop {
            match end.endpoint.poll_output() {
                ipsec_gateway::ike::Output::Timeout(deadline) => {
                    end.deadline = deadline.map(|deadline| deadline.at);
                    break;
                }
                ipsec_gateway::ike::Output::Transmit(_) => answers += 1,
                ipsec_gateway::ike::Output::Event(event) => panic!("a forged request causes {event:?}"),
            }
        }
        assert!(answers <= 1, "at most one answer to a request");
        if number > 1_000 {
            assert_eq!(result, Err(Discard::CookieRequired), "request {number}");
        }
    }
    assert!(accepted as usize <= world.ends[RIGHT].config.cookie_threshold, "{accepted} half-open IKE SAs");
    world.agree_within(Duration::from_secs(60));
    assert_eq!(world.violation, None, "{}", world.trace());
}
