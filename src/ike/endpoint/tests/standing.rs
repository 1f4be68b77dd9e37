//! What is known of a datagram's sender at each step of a handshake.

use super::*;
use crate::ike::{Standing, own_spi};
use crate::wire::ike::{ExchangeType, Flags, encode_message};

/// The standing of the datagram under way at the end that it goes to, as from its own source and as from another one.
fn under_way(lab: &mut Lab) -> [Standing; 2] {
    let (from, transmit) = lab.wire.front().expect("a datagram under way").clone();
    let Path { local, peer, non_esp_marker } = transmit.path;
    let source = SocketAddr::new(ADDRESSES[from].into(), local.port());
    [source, address([198, 18, 0, 1], 500)].map(|source| {
        let path = Path { local: peer, peer: source, non_esp_marker };
        Standing::of(&mut lab.ends[1 - from], &transmit.payload, path, lab.now)
    })
}

#[test]
fn who_was_given_an_spi_at_its_address_has_shown_to_receive_there_also_when_the_spi_is_lost() {
    let mut lab = Lab::up();
    let secret = || Some(Secret::new(vec![7; 32]));
    let addresses = [ADDRESSES[0].into(), IpAddr::from([198, 18, 0, 1])];
    lab.ends[1].connections.ike_sas.token_secret = secret();
    let mut entropy = SeededEntropy::new(5);
    let spis = addresses.map(|peer| own_spi::make(peer, secret().as_ref(), &mut entropy));
    let mut standing = |spi: IkeSpi, peer| {
        let flags = Flags { initiator: true, ..Flags::default() };
        let lost = Header::new(IkeSpi([9; 8]), spi, ExchangeType::INFORMATIONAL, flags, 3);
        let message = encode_message(&lost, &[]).expect("a header");
        let path = Path {
            local: address(ADDRESSES[1].octets(), 500),
            peer: SocketAddr::new(peer, 500),
            non_esp_marker: false,
        };
        Standing::of(&mut lab.ends[1], &message, path, lab.now)
    };
    assert_eq!(addresses.map(|peer| standing(spis[0], peer)), [Standing::Expected, Standing::Stranger]);
    assert_eq!(addresses.map(|peer| standing(spis[1], peer)), [Standing::Configured, Standing::Returned]);
}

#[test]
fn a_sender_is_known_better_with_each_step() {
    let mut right = config(connection(1));
    right.cookie_threshold = 0;
    let mut lab = Lab::new([config(connection(0)), right]);
    lab.tick(0);
    assert_eq!(under_way(&mut lab), [Standing::Configured, Standing::Stranger], "the first request");
    lab.deliver();
    assert_eq!(under_way(&mut lab), [Standing::Known; 2], "the cookie, in an answer to a request of ours");
    lab.deliver();
    assert_eq!(under_way(&mut lab), [Standing::Expected, Standing::Stranger], "the request with its cookie");
    let (_, request) = lab.wire.front_mut().expect("the request");
    // Generic payload header, protocol, SPI size and type stand before it.
    request.payload[28 + 8] ^= 1;
    assert_eq!(under_way(&mut lab), [Standing::Configured, Standing::Stranger], "another cookie");
    lab.wire.front_mut().expect("the request").1.payload[28 + 8] ^= 1;
    lab.deliver();
    assert_eq!(under_way(&mut lab), [Standing::Known; 2], "the response");
    lab.deliver();
    assert_eq!(under_way(&mut lab), [Standing::Expected, Standing::Stranger], "IKE_AUTH on a half-open IKE SA");
    lab.deliver();
    lab.settle();
    lab.assert_paired(1);
    lab.command(0, Command::Rekey { connection: "site".into(), what: crate::ike::RekeyWhat::Child });
    assert_eq!(under_way(&mut lab), [Standing::Known; 2], "an exchange on an established IKE SA");
    let path = lab.wire[0].1.path;
    let stranger = Path { peer: address([198, 18, 0, 1], 500), ..path };
    for junk in [&[][..], &[0xff], &[0; 28], &[7; 100]] {
        assert_eq!(Standing::of(&mut lab.ends[1], junk, stranger, lab.now), Standing::Stranger);
    }
}
