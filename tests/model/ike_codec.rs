//! The IKEv2 codec: what is written is read back, and no bytes make reading panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipsec_gateway::wire::ike::{
    AuthMethod, Authentication, Certificate, CertificateEncoding, CertificateRequest, Configuration,
    ConfigurationAttribute, ConfigurationType, Delete, Eap, EncryptedShape, ExchangeType, Flags, Header, IdType,
    Identification, IkeSpi, KeyExchange, KeyExchangeId, Notify, NotifyType, Payload, PayloadType, Proposal, ProtocolId,
    TrafficSelector, Transform, TransformType, encode_encrypted, encode_message, encode_payloads, grammar,
    parse_message, parse_payloads, split_payloads, strip_padding,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn bytes(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=max)
}

fn transform() -> impl Strategy<Value = Transform> {
    (1_u8..=12, any::<u16>(), any::<Option<u16>>())
        .prop_map(|(kind, id, key_bits)| Transform::new(TransformType(kind), id, key_bits))
}

fn proposals() -> impl Strategy<Value = Vec<Proposal>> {
    let proposal = (any::<u8>(), bytes(8), vec(transform(), 0..6));
    vec(proposal, 1..6).prop_map(|proposals| {
        let numbered = proposals.into_iter().zip(1_u8..);
        numbered
            .map(|((protocol, spi, transforms), number)| Proposal {
                number,
                protocol: ProtocolId(protocol),
                spi,
                transforms,
            })
            .collect()
    })
}

fn identification() -> impl Strategy<Value = Identification> {
    prop_oneof![
        any::<Ipv4Addr>().prop_map(Identification::Ipv4),
        any::<Ipv6Addr>().prop_map(Identification::Ipv6),
        "[!-~]{1,40}".prop_map(Identification::Fqdn),
        "[!-~]{1,40}".prop_map(Identification::UserFqdn),
        bytes(40).prop_map(Identification::KeyId),
        (any::<u8>(), bytes(40)).prop_map(|(id_type, data)| Identification::from_wire(IdType(id_type), &data)),
    ]
}

fn ordered<T: Ord>((one, two): (T, T)) -> (T, T) {
    if one <= two { (one, two) } else { (two, one) }
}

fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<(Ipv4Addr, Ipv4Addr)>().prop_map(ordered).prop_map(|(start, end)| (start.into(), end.into())),
        any::<(Ipv6Addr, Ipv6Addr)>().prop_map(ordered).prop_map(|(start, end)| (start.into(), end.into())),
    ]
}

fn ports() -> impl Strategy<Value = (u16, u16)> {
    prop_oneof![
        3 => Just((0, u16::MAX)),
        1 => Just((u16::MAX, 0)),
        3 => any::<(u16, u16)>().prop_map(ordered),
    ]
}

fn selector() -> impl Strategy<Value = TrafficSelector> {
    (prop_oneof![Just(0), Just(6), any::<u8>()], ports(), addresses()).prop_map(
        |(protocol, (start_port, end_port), (start, end))| TrafficSelector {
            protocol,
            start_port,
            end_port,
            start,
            end,
        },
    )
}

fn notify() -> impl Strategy<Value = Notify> {
    (any::<u8>(), bytes(255), any::<u16>(), bytes(64)).prop_map(|(protocol, spi, kind, data)| Notify {
        protocol: ProtocolId(protocol),
        spi,
        kind: NotifyType(kind),
        data,
    })
}

fn delete() -> impl Strategy<Value = Delete> {
    prop_oneof![Just(Delete::ike()), vec(any::<u32>(), 0..20).prop_map(Delete::esp)]
}

fn configuration() -> impl Strategy<Value = Configuration> {
    let attribute = (0..0x8000_u16, bytes(20)).prop_map(|(kind, value)| ConfigurationAttribute { kind, value });
    (any::<u8>(), vec(attribute, 0..5))
        .prop_map(|(kind, attributes)| Configuration { kind: ConfigurationType(kind), attributes })
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        proposals().prop_map(Payload::SecurityAssociation),
        (any::<u16>(), bytes(64))
            .prop_map(|(group, data)| Payload::KeyExchange(KeyExchange { group: KeyExchangeId(group), data })),
        identification().prop_map(Payload::IdentificationInitiator),
        identification().prop_map(Payload::IdentificationResponder),
        (any::<u8>(), bytes(64)).prop_map(|(encoding, data)| Payload::Certificate(Certificate {
            encoding: CertificateEncoding(encoding),
            data
        })),
        (any::<u8>(), bytes(64)).prop_map(|(encoding, authorities)| Payload::CertificateRequest(CertificateRequest {
            encoding: CertificateEncoding(encoding),
            authorities
        })),
        (any::<u8>(), bytes(64))
            .prop_map(|(method, data)| Payload::Authentication(Authentication { method: AuthMethod(method), data })),
        vec(any::<u8>(), 16..=256).prop_map(Payload::Nonce),
        notify().prop_map(Payload::Notify),
        delete().prop_map(Payload::Delete),
        bytes(64).prop_map(Payload::VendorId),
        vec(selector(), 1..10).prop_map(Payload::TrafficSelectorsInitiator),
        vec(selector(), 1..10).prop_map(Payload::TrafficSelectorsResponder),
        configuration().prop_map(Payload::Configuration),
        (any::<u8>(), any::<u8>(), bytes(64)).prop_map(|(code, identifier, data)| Payload::Eap(Eap {
            code,
            identifier,
            data
        })),
        (54_u8..=255, bytes(64)).prop_map(|(payload_type, body)| Payload::Unknown {
            payload_type: PayloadType(payload_type),
            critical: false,
            body
        }),
    ]
}

fn payloads() -> impl Strategy<Value = Vec<Payload>> {
    vec(payload(), 0..8)
}

fn header() -> impl Strategy<Value = Header> {
    (any::<[u8; 8]>(), any::<[u8; 8]>(), any::<u8>(), any::<[bool; 3]>(), any::<u32>()).prop_map(
        |(initiator_spi, responder_spi, exchange, [initiator, version, response], message_id)| {
            let flags = Flags { initiator, version, response };
            Header::new(IkeSpi(initiator_spi), IkeSpi(responder_spi), ExchangeType(exchange), flags, message_id)
        },
    )
}

/// A message with a few bytes changed and perhaps cut, whose header length is true: what a mutating attacker sends
/// past the first checks.
fn damaged_message() -> impl Strategy<Value = Vec<u8>> {
    (header(), payloads(), vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), any::<Option<prop::sample::Index>>())
        .prop_map(|(header, payloads, changes, cut)| {
            let mut message = encode_message(&header, &payloads).expect("short payloads");
            for (at, value) in changes {
                let at = at.index(message.len());
                message[at] = value;
            }
            if let Some(cut) = cut {
                message.truncate(28 + cut.index(message.len() - 27));
            }
            let length = u32::try_from(message.len()).expect("a short message");
            message[17] = 0x20;
            message[24..28].copy_from_slice(&length.to_be_bytes());
            message
        })
}

/// Reads every part of a message that can be read without keys, and checks that what was read can be written and read
/// again.
fn exercise(message: &[u8]) {
    let Ok(parsed) = parse_message(message) else { return };
    for (direction, encrypted) in [
        (grammar::Direction::Request, false),
        (grammar::Direction::Response, false),
        (grammar::Direction::Request, true),
    ] {
        // Whether the grammar holds does not matter here.
        let _ = grammar::check(parsed.header.exchange_type, direction, encrypted, &parsed.payloads);
    }
    if let Some(encrypted) = parsed.encrypted {
        let mut copy = message.to_vec();
        if let Some(parts) = encrypted.split(&mut copy, 8, 16)
            && let Ok(plaintext) = strip_padding(parts.body)
        {
            let _ = parse_payloads(encrypted.first_payload, plaintext);
            let _ = split_payloads(encrypted.first_payload, plaintext);
        }
        return;
    }
    let written =
        encode_message(&parsed.header, &parsed.payloads).expect("what was read is not longer than a datagram");
    assert_eq!(parse_message(&written).expect("it was read before").payloads, parsed.payloads);
}

/// One payload of each type, with everything in it that its format can hold.
fn rows() -> Vec<Payload> {
    let data = vec![1, 2, 3, 4];
    let selectors = |net: &str| vec![TrafficSelector::from_net(net.parse().expect("a network"))];
    let transforms = vec![
        Transform::new(TransformType::ENCRYPTION, 20, Some(256)),
        Transform::new(TransformType::SEQUENCE_NUMBERS, 0, None),
    ];
    let proposal =
        |number| Proposal { number, protocol: ProtocolId::ESP, spi: data.clone(), transforms: transforms.clone() };
    let attribute = ConfigurationAttribute { kind: 1, value: data.clone() };
    vec![
        Payload::SecurityAssociation(vec![proposal(1), proposal(2)]),
        Payload::KeyExchange(KeyExchange { group: KeyExchangeId(31), data: data.clone() }),
        Payload::IdentificationInitiator(Identification::Ipv4(Ipv4Addr::LOCALHOST)),
        Payload::IdentificationResponder(Identification::Fqdn("gw".to_owned())),
        Payload::Certificate(Certificate { encoding: CertificateEncoding(4), data: data.clone() }),
        Payload::CertificateRequest(CertificateRequest { encoding: CertificateEncoding(4), authorities: data.clone() }),
        Payload::Authentication(Authentication { method: AuthMethod(2), data: data.clone() }),
        Payload::Nonce(vec![7; 16]),
        Payload::Notify(Notify::about_esp(NotifyType::REKEY_SA, 0x0102_0304, data.clone())),
        Payload::Delete(Delete::esp([1, 2])),
        Payload::VendorId(data.clone()),
        Payload::TrafficSelectorsInitiator(selectors("10.0.0.0/8")),
        Payload::TrafficSelectorsResponder(selectors("2001:db8::/32")),
        Payload::Configuration(Configuration { kind: ConfigurationType(1), attributes: vec![attribute] }),
        Payload::Eap(Eap { code: 1, identifier: 2, data: data.clone() }),
        Payload::Unknown { payload_type: PayloadType(200), critical: false, body: data },
    ]
}

/// Whatever can be read says the same when it is written and read again.
fn assert_comes_back(first: PayloadType, chain: &[u8]) {
    let Ok(payloads) = parse_payloads(first, chain) else { return };
    let (again, written) = encode_payloads(&payloads).expect("what was read is not too long");
    assert_eq!(parse_payloads(again, &written).as_ref(), Ok(&payloads), "{first}: {chain:02x?}");
}

#[test]
fn every_payload_type_has_a_row() {
    // Chains of their own begin or end with these; they hold no payload.
    let no_payload = [PayloadType::NONE, PayloadType::ENCRYPTED, PayloadType::ENCRYPTED_FRAGMENT];
    let rows: Vec<_> = rows().iter().map(Payload::payload_type).collect();
    for known in PayloadType::KNOWN.iter().filter(|known| !no_payload.contains(known)) {
        assert!(rows.contains(known), "{known} has no row");
    }
}

#[test]
fn every_byte_of_every_payload_may_be_any() {
    for payload in rows() {
        let (first, chain) = encode_payloads(&[payload]).expect("a short payload");
        assert_comes_back(first, &chain);
        for at in 0..chain.len() {
            for value in 0..=u8::MAX {
                let mut changed = chain.clone();
                changed[at] = value;
                assert_comes_back(first, &changed);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn messages_come_back(header in header(), payloads in payloads()) {
        let bytes = encode_message(&header, &payloads).unwrap();
        let message = parse_message(&bytes).unwrap();
        prop_assert_eq!(message.payloads, payloads);
        let Header { next_payload, length, .. } = message.header;
        prop_assert_eq!(message.header, Header { next_payload, length, ..header });
        prop_assert_eq!(length as usize, bytes.len());
    }

    #[test]
    fn encrypted_messages_come_back(
        header in header(),
        clear in payloads(),
        inner in payloads(),
        iv_len in 0_usize..20,
        block_len in prop_oneof![Just(1_usize), Just(4), Just(8), Just(16)],
        icv_len in 0_usize..40,
    ) {
        let shape = EncryptedShape { iv_len, block_len, icv_len };
        let mut sealable = encode_encrypted(&header, &clear, &inner, shape).unwrap();
        let message = parse_message(&sealable.message).unwrap();
        prop_assert_eq!(&message.payloads, &clear);
        let encrypted = message.encrypted.unwrap();
        let parts = encrypted.split(&mut sealable.message, iv_len, icv_len).unwrap();
        prop_assert_eq!(parts.body.len() % block_len, 0);
        let plaintext = strip_padding(parts.body).unwrap();
        prop_assert_eq!(parse_payloads(encrypted.first_payload, plaintext).unwrap(), inner);
    }

    #[test]
    fn links_are_what_was_written(payloads in payloads()) {
        let (first, bytes) = encode_payloads(&payloads).unwrap();
        let links = split_payloads(first, &bytes).unwrap();
        let kinds: Vec<_> = payloads.iter().map(Payload::payload_type).collect();
        prop_assert_eq!(links.iter().map(|link| link.payload_type).collect::<Vec<_>>(), kinds);
        prop_assert_eq!(links.iter().map(|link| 4 + link.body.len()).sum::<usize>(), bytes.len());
    }

    #[test]
    fn damaged_messages_do_no_harm(message in damaged_message()) {
        exercise(&message);
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in bytes(600), first in any::<u8>()) {
        exercise(&bytes);
        let _ = parse_payloads(PayloadType(first), &bytes);
        let _ = split_payloads(PayloadType(first), &bytes);
        let _ = strip_padding(&bytes);
        let _ = Header::parse(&bytes);
    }

    #[test]
    fn arbitrary_bodies_of_every_payload_come_back(body in bytes(300), first in 33_u8..=53) {
        let length = u16::try_from(body.len() + 4).unwrap();
        let mut chain = vec![0, 0];
        chain.extend(length.to_be_bytes());
        chain.extend(body);
        assert_comes_back(PayloadType(first), &chain);
    }

    #[test]
    fn damaged_payloads_come_back(
        row in prop::sample::select(rows()),
        others in payloads(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let (first, mut chain) = encode_payloads(&[&[row], &others[..]].concat()).unwrap();
        for (at, value) in changes {
            let at = at.index(chain.len());
            chain[at] = value;
        }
        assert_comes_back(first, &chain);
    }

    #[test]
    fn identities_are_read_as_they_are_shown(identity in identification()) {
        prop_assert_eq!(identity.to_string().parse(), Ok(identity));
    }

    #[test]
    fn intersections_hold_what_both_hold(one in selector(), two in selector(), address in addresses(), port in any::<Option<u16>>()) {
        let both = one.intersect(&two);
        prop_assert_eq!(both, two.intersect(&one));
        for (address, protocol) in [(address.0, 6), (one.start, one.protocol), (two.end, two.protocol)] {
            let in_each = one.contains(address, protocol, port) && two.contains(address, protocol, port);
            prop_assert_eq!(both.is_some_and(|both| both.contains(address, protocol, port)), in_each);
        }
        if let Some(both) = both {
            prop_assert!(both.is_subset(&one) && both.is_subset(&two));
        }
        prop_assert!(one.is_subset(&one));
    }

    #[test]
    fn networks_cover_their_range_and_nothing_else(selector in selector()) {
        let nets: Vec<_> = selector.nets().collect();
        prop_assert_eq!(nets.first().map(|net| net.network()), Some(selector.start));
        prop_assert_eq!(nets.last().map(|net| net.broadcast()), Some(selector.end));
        for pair in nets.windows(2) {
            prop_assert!(pair[0].broadcast() < pair[1].network());
        }
    }
}
