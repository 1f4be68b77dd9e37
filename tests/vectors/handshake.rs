//! Captured handshakes of strongSwan with their keys: read, opened, derived and written again byte for byte.

use ipsec_gateway::crypto::{OpeningKey, PrfAlgorithm, Suite, encryption, integ, prf};
use ipsec_gateway::wire::ike::{
    Delete, ExchangeType, HEADER_LEN, Identification, NotifyType, Payload, PayloadType, ProtocolId, TransformType,
    encode_message, encode_payloads, grammar, parse_message, parse_payloads, split_payloads, strip_padding,
};

use crate::record::{Record, records};

/// File, encryption, integrity, encryption transform and key bits, key exchange transform.
type Capture = (&'static str, &'static str, Option<&'static str>, u16, u16, u16);

const CAPTURES: &[Capture] = &[
    ("aes256gcm16-prfsha256-x25519", "aes256gcm16", None, 20, 256, 31),
    ("aes128-sha256-prfsha256-modp2048", "aes128", Some("sha256"), 12, 128, 14),
];

const PRE_SHARED_KEY: &[u8] = b"a captured secret";

/// One datagram of a capture, opened.
struct Opened {
    exchange: ExchangeType,
    response: bool,
    datagram: Vec<u8>,
    first: PayloadType,
    /// The payload chain: what the Encrypted payload held, or what stood in the clear.
    plaintext: Vec<u8>,
    payloads: Vec<Payload>,
}

fn keys_of(capture: &[Record], number: &[u8]) -> impl Fn(&str) -> Vec<u8> {
    let sa = capture.iter().find(|record| record.find("ike_sa") == Some(number)).expect("keys of the IKE SA");
    |field: &str| sa.find(field).unwrap_or_default().to_vec()
}

fn open(capture: &[Record], suite: Suite, message: &Record) -> Opened {
    let datagram = message.field("datagram").to_vec();
    let parsed = parse_message(&datagram).expect("strongSwan's message");
    let header = parsed.header;
    let (first, plaintext) = match parsed.encrypted {
        None => (header.next_payload, datagram[HEADER_LEN..].to_vec()),
        Some(encrypted) => {
            let keys = keys_of(capture, message.field("message_of"));
            let (encryption, integrity) = if header.flags.initiator { ("sk_ei", "sk_ai") } else { ("sk_er", "sk_ar") };
            let key = OpeningKey::new(suite, &keys(encryption), &keys(integrity)).expect("keys of the suite");
            let mut sealed = datagram.clone();
            let parts = encrypted.split(&mut sealed, suite.iv_len(), suite.icv_len()).expect("room for the suite");
            key.open(parts.before, parts.iv, parts.body, &[], parts.icv).expect("the captured keys open it");
            (encrypted.first_payload, strip_padding(parts.body).expect("padding").to_vec())
        }
    };
    let payloads = parse_payloads(first, &plaintext).expect("strongSwan's payloads");
    Opened { exchange: header.exchange_type, response: header.flags.response, datagram, first, plaintext, payloads }
}

fn each_capture(check: impl Fn(&Capture, &[Record], &[Opened])) {
    for row in CAPTURES {
        let capture = records("handshakes", row.0);
        let integrity = row.2.map(|name| integ::by_name(name).expect("an integrity algorithm"));
        let suite =
            Suite::new(encryption::by_name(row.1).expect("an encryption algorithm"), integrity).expect("a suite");
        let messages = capture.iter().filter(|record| record.find("datagram").is_some());
        let opened: Vec<_> = messages.map(|message| open(&capture, suite, message)).collect();
        assert!(opened.len() >= 16, "the capture is complete");
        check(row, &capture, &opened);
    }
}

fn nonce(message: &Opened) -> &[u8] {
    message
        .payloads
        .iter()
        .find_map(|payload| match payload {
            Payload::Nonce(nonce) => Some(nonce.as_slice()),
            _ => None,
        })
        .expect("a nonce")
}

fn prf() -> &'static PrfAlgorithm {
    prf::by_name("prfsha256").expect("HMAC-SHA2-256")
}

#[test]
fn every_message_opens_obeys_the_grammar_and_is_written_as_it_was() {
    each_capture(|_, _, messages| {
        for message in messages {
            let direction = if message.response { grammar::Direction::Response } else { grammar::Direction::Request };
            let encrypted = message.exchange != ExchangeType::IKE_SA_INIT;
            assert_eq!(grammar::check(message.exchange, direction, encrypted, &message.payloads), Ok(()));
            let (first, bytes) = encode_payloads(&message.payloads).expect("payloads that were read");
            assert_eq!((first, &bytes), (message.first, &message.plaintext), "{:?}", message.payloads);
            if !encrypted {
                let header = parse_message(&message.datagram).expect("read before").header;
                assert_eq!(encode_message(&header, &message.payloads).as_ref(), Ok(&message.datagram));
            }
        }
    });
}

#[test]
fn the_captured_negotiation_says_what_was_configured() {
    each_capture(|&(name, _, _, encryption, key_bits, group), _, messages| {
        let Some(Payload::SecurityAssociation(proposals)) = messages[1].payloads.first() else {
            panic!("{name}: the first payload of the answer is its proposal")
        };
        let chosen = &proposals[0];
        assert_eq!((proposals.len(), chosen.protocol, chosen.spi.len()), (1, ProtocolId::IKE, 0));
        let of = |kind| chosen.transforms_of(kind).map(|one| (one.id, one.key_bits)).collect::<Vec<_>>();
        assert_eq!(of(TransformType::ENCRYPTION), [(encryption, Some(key_bits))]);
        assert_eq!(of(TransformType::KEY_EXCHANGE), [(group, None)]);

        let authentication = &messages[2].payloads;
        let initiator = Identification::Ipv4("198.51.100.1".parse().unwrap());
        assert_eq!(authentication[0], Payload::IdentificationInitiator(initiator));
        assert!(authentication.iter().any(|payload| matches!(payload, Payload::TrafficSelectorsResponder(selectors)
            if selectors.iter().map(ToString::to_string).collect::<Vec<_>>() == ["10.2.0.0/16", "10.3.0.0/24"])));
        assert!(messages[4].payloads.iter().any(|payload| matches!(payload, Payload::Notify(notify)
            if notify.kind == NotifyType::REKEY_SA && notify.esp_spi().is_some())));
        assert!(messages.iter().any(|message| message.payloads == [Payload::Delete(Delete::ike())]));
    });
}

#[test]
fn the_keys_are_derived_from_the_captured_nonces() {
    each_capture(|&(name, encryption, integrity, ..), capture, messages| {
        let (request, response) = (&messages[0], &messages[1]);
        let keys = keys_of(capture, &[1]);
        let seed = [nonce(request), nonce(response)].concat();
        let skeyseed = prf().prf(&seed, &[&keys("shared_secret")]);
        assert_eq!(skeyseed.as_bytes(), keys("skeyseed"), "{name}");

        let spis = &response.datagram[..16];
        let names = ["sk_d", "sk_ai", "sk_ar", "sk_ei", "sk_er", "sk_pi", "sk_pr"];
        let expected = names.map(&keys).concat();
        let suite = Suite::new(encryption::by_name(encryption).unwrap(), integrity.and_then(integ::by_name)).unwrap();
        assert_eq!(expected.len(), 3 * 32 + 2 * (suite.encryption_key_len() + suite.integrity_key_len()));
        let derived = prf().prf_plus(skeyseed.as_bytes(), &[&seed, spis], expected.len());
        assert_eq!(derived.as_bytes(), expected, "{name}");
    });
}

#[test]
fn the_captured_peers_authenticate_each_other() {
    each_capture(|&(name, ..), capture, messages| {
        let keys = keys_of(capture, &[1]);
        let signer_and_nonce = [("sk_pi", 0, 1, 2), ("sk_pr", 1, 0, 3)];
        for (key, own_message, other_message, authentication) in signer_and_nonce {
            let message = &messages[authentication];
            let links = split_payloads(message.first, &message.plaintext).expect("read before");
            let identity = links
                .iter()
                .find(|link| match message.response {
                    false => link.payload_type == PayloadType::IDENTIFICATION_INITIATOR,
                    true => link.payload_type == PayloadType::IDENTIFICATION_RESPONDER,
                })
                .expect("an identity");
            let proof = prf().prf(&keys(key), &[identity.body]);
            let pad = prf().prf(PRE_SHARED_KEY, &[b"Key Pad for IKEv2"]);
            let expected = prf().prf(
                pad.as_bytes(),
                &[&messages[own_message].datagram, nonce(&messages[other_message]), proof.as_bytes()],
            );
            let sent = message.payloads.iter().find_map(|payload| match payload {
                Payload::Authentication(authentication) => Some(authentication.data.as_slice()),
                _ => None,
            });
            assert_eq!(sent, Some(expected.as_bytes()), "{name}: {key}");
        }
    });
}
