//! What a person is told of an attempt that failed, and what a peer is told that did not make itself understood.

use std::sync::Mutex;

use super::*;
use crate::crypto::{OpeningKey, SealingKey, Suite};
use crate::ike::KeyLog;
use crate::ike::key_log::IkeKeyMaterial;
use crate::wire::ike::{
    AuthMethod, EncryptedShape, KeyExchange, KeyExchangeId, Notify, NotifyType, Payload, PayloadType, Proposal,
    Transform, TransformType, encode_encrypted, encode_message, parse_message, parse_payloads, strip_padding,
};

const UNKNOWN: PayloadType = PayloadType(200);

fn unknown(critical: bool) -> Payload {
    Payload::Unknown { payload_type: UNKNOWN, critical, body: vec![1, 2, 3] }
}

fn notify(kind: NotifyType, data: &[u8]) -> Payload {
    Payload::Notify(Notify::new(kind, data.to_vec()))
}

/// A message in the clear whose payloads a peer or a forger has changed.
fn changed(transmit: &Transmit, change: impl FnOnce(&mut Header, &mut Vec<Payload>)) -> Transmit {
    let message = parse_message(&transmit.payload).expect("a message");
    let (mut header, mut payloads) = (message.header, message.payloads);
    change(&mut header, &mut payloads);
    Transmit { payload: encode_message(&header, &payloads).expect("a short message"), ..transmit.clone() }
}

/// Both ends after the IKE_SA_INIT request was answered: the answer, still on its way.
fn answered() -> (Lab, Transmit) {
    let mut lab = Lab::plain();
    lab.tick(0);
    assert!(lab.deliver());
    let (_, answer) = lab.wire.pop_front().expect("an answer");
    (lab, answer)
}

/// Why the connection of end 0 went down when nothing more arrived.
fn reason_of_failure(lab: &mut Lab) -> String {
    for _ in 0..100 {
        lab.lose();
        let Output::Timeout(Some(deadline)) = lab.ends[0].poll_output() else { panic!("nothing is tried any more") };
        lab.now = lab.now.max(deadline.at);
        lab.tick(0);
        let down = lab.events[0].iter().find_map(|event| match event {
            Event::ConnectionDown { error, .. } => Some(error.as_ref().map(ToString::to_string)),
            _ => None,
        });
        if let Some(error) = down {
            return error.expect("a reason");
        }
    }
    panic!("the attempt never ends");
}

#[test]
fn a_critical_payload_that_is_unknown_is_named_to_the_initiator() {
    let mut lab = Lab::plain();
    lab.tick(0);
    let (_, request) = lab.wire.pop_front().expect("a request");
    let critical = changed(&request, |_, payloads| payloads.push(unknown(true)));
    lab.arrive(1, &critical);
    let (_, answer) = lab.wire.pop_front().expect("an answer");
    let read = parse_message(&answer.payload).expect("a message");
    assert_eq!(read.payloads, [notify(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[UNKNOWN.0])]);
    assert!(read.header.flags.response && !read.header.flags.initiator);
    assert_eq!((read.header.initiator_spi, read.header.message_id), (header(&request).initiator_spi, 0));
    assert!(answer.payload.len() < critical.payload.len());
    assert_eq!((lab.ends[1].half_open(), &lab.discards[..]), (0, &[Discard::CriticalPayload][..]));

    // Only a first request is answered, and a flood of them only so often.
    let spoilt: [fn(&mut Header); 4] = [
        |header| header.flags.response = true,
        |header| header.flags.initiator = false,
        |header| header.responder_spi = header.initiator_spi,
        |header| header.message_id = 1,
    ];
    for spoil in spoilt {
        let spoilt = changed(&request, |header, payloads| {
            spoil(header);
            payloads.push(unknown(true));
        });
        lab.arrive(1, &spoilt);
        assert_eq!(lab.lose(), 0);
    }
    for _ in 0..100 {
        lab.arrive(1, &critical);
    }
    assert_eq!(lab.lose(), 4);

    let ignored = changed(&request, |_, payloads| payloads.push(unknown(false)));
    lab.arrive(1, &ignored);
    assert_eq!(lab.ends[1].half_open(), 1);
}

#[test]
fn a_message_with_many_notifications_and_vendor_ids_is_answered() {
    let mut lab = Lab::plain();
    lab.tick(0);
    let (_, request) = lab.wire.pop_front().expect("a request");
    let talkative = changed(&request, |_, payloads| {
        for number in 0..100 {
            payloads.push(notify(NotifyType(40_000), &[number]));
            payloads.push(Payload::VendorId(vec![number; 16]));
        }
    });
    lab.arrive(1, &talkative);
    assert_eq!((lab.ends[1].half_open(), lab.discards.len()), (1, 0));
}

/// Anybody could have sent it, so each of these is only noted, whatever it says; but it is what is told in the end.
#[test]
fn an_answer_that_is_not_acceptable_is_told_when_the_attempt_ends() {
    fn proposal(payloads: &mut [Payload]) -> &mut Proposal {
        let proposals = payloads.iter_mut().find_map(|payload| match payload {
            Payload::SecurityAssociation(proposals) => proposals.first_mut(),
            _ => None,
        });
        proposals.expect("a proposal")
    }
    fn transform(payloads: &mut [Payload], kind: TransformType) -> &mut Transform {
        proposal(payloads).transforms.iter_mut().find(|transform| transform.kind == kind).expect("an algorithm")
    }
    fn public(payloads: &mut [Payload]) -> &mut KeyExchange {
        let public = payloads.iter_mut().find_map(|payload| match payload {
            Payload::KeyExchange(value) => Some(value),
            _ => None,
        });
        public.expect("a public value")
    }
    type Change = fn(&mut Header, &mut Vec<Payload>);
    let cases: &[(Change, Discard, &[&str])] = &[
        (|_, all| proposal(all).number = 7, Discard::NoProposal, &["chose proposal 7", "1 was offered"]),
        (|_, all| proposal(all).number = 0, Discard::NoProposal, &["chose proposal 0"]),
        (
            |_, all| transform(all, TransformType::ENCRYPTION).key_bits = Some(256),
            Discard::NoProposal,
            &["AES_GCM_16_256", "proposal 1 does not offer"],
        ),
        (
            |_, all| proposal(all).transforms.retain(|one| one.kind != TransformType::PSEUDORANDOM_FUNCTION),
            Discard::NoProposal,
            &["no PRF algorithm"],
        ),
        (
            |_, all| {
                let twice = transform(all, TransformType::ENCRYPTION).clone();
                proposal(all).transforms.push(twice);
            },
            Discard::NoProposal,
            &["more than one encryption algorithm"],
        ),
        (
            |_, all| {
                let mut second = proposal(all).clone();
                second.number = 2;
                all[0] = Payload::SecurityAssociation(vec![proposal(all).clone(), second]);
            },
            Discard::NoProposal,
            &["2 proposals"],
        ),
        (|_, all| transform(all, TransformType::KEY_EXCHANGE).id = 19, Discard::NoProposal, &["ECP_256"]),
        (|_, all| public(all).group = KeyExchangeId::ECP_256, Discard::BadKeyExchange, &["ECP_256", "CURVE_25519"]),
        (|_, all| public(all).data.truncate(31), Discard::BadKeyExchange, &["31 bytes, not 32"]),
        (|header, _| header.responder_spi = Default::default(), Discard::BadKeyExchange, &["no SPI"]),
        (
            |_, all| all.retain(|payload| payload.payload_type() != PayloadType::NONCE),
            Discard::Grammar,
            &["lacks its Nonce payload"],
        ),
        (|_, all| all.push(unknown(true)), Discard::CriticalPayload, &["payload type 200 is critical and unknown"]),
        (|_, all| all.push(Payload::Nonce(vec![0; 3])), Discard::Malformed, &["Nonce payload", "16 to 256 bytes"]),
        (
            |_, all| *all = vec![notify(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[41])],
            Discard::UnauthenticatedError,
            &["UNSUPPORTED_CRITICAL_PAYLOAD", "payload type 41"],
        ),
        (
            |_, all| *all = vec![notify(NotifyType::INVALID_KE_PAYLOAD, &[0, 14])],
            Discard::WrongGroup,
            &["MODP_2048", "CURVE_25519"],
        ),
        (
            |_, all| *all = vec![notify(NotifyType::INVALID_KE_PAYLOAD, &[0, 31])],
            Discard::WrongGroup,
            &["CURVE_25519", "which it was sent"],
        ),
        (|_, all| *all = vec![notify(NotifyType::INVALID_KE_PAYLOAD, &[])], Discard::Malformed, &["names no method"]),
        (|_, all| *all = vec![notify(NotifyType::COOKIE, &[0; 65])], Discard::Malformed, &["cookie of 65 bytes"]),
    ];
    for (change, discard, told) in cases {
        let (mut lab, answer) = answered();
        lab.arrive(0, &changed(&answer, change));
        assert_eq!(lab.discards, [*discard], "{told:?}");
        assert_eq!(lab.state(0), ConnectionState::Connecting);
        let status = lab.ends[0].status().remove(0).last_error.expect("what was noted").to_string();
        // The true answer is as welcome as before.
        lab.arrive(0, &answer);
        lab.settle();
        lab.assert_paired(1);

        let (mut lab, answer) = answered();
        lab.arrive(0, &changed(&answer, change));
        let reason = reason_of_failure(&mut lab);
        assert_eq!(reason, status);
        assert!(told.iter().all(|part| reason.contains(part)), "{reason:?} lacks some of {told:?}");
    }
}

#[test]
fn a_peer_that_wants_one_cookie_after_another_is_told_of() {
    let (mut lab, answer) = answered();
    for number in 0..6 {
        lab.arrive(0, &changed(&answer, |_, all| *all = vec![notify(NotifyType::COOKIE, &[number])]));
        lab.lose();
    }
    assert_eq!(lab.discards, [Discard::TooManyRetries]);
    let reason = reason_of_failure(&mut lab);
    assert!(reason.contains("asked 5 times to begin again"), "{reason}");
}

/// The keys of the last IKE SA that an end derived, by the end that encrypts with them.
#[derive(Clone, Default)]
struct Keys(Arc<Mutex<Option<EncryptionKeys>>>);

type EncryptionKeys = (Suite, [Vec<u8>; 2]);

impl KeyLog for Keys {
    fn ike_sa(&self, keys: &IkeKeyMaterial<'_>) {
        *self.0.lock().expect("no panic") = Some((keys.suite, [keys.sk_ei.to_vec(), keys.sk_er.to_vec()]));
    }

    fn child_sa(&self, _: &ChildSa) {}
}

impl Keys {
    /// What `side` would have sent, had it protected other payloads.
    fn changed(&self, side: usize, transmit: &Transmit, change: impl FnOnce(&mut Vec<Payload>)) -> Transmit {
        let (suite, keys) = self.0.lock().expect("no panic").clone().expect("keys");
        let mut copy = transmit.payload.clone();
        let message = parse_message(&transmit.payload).expect("a message");
        let encrypted = message.encrypted.expect("an Encrypted payload");
        let parts = encrypted.split(&mut copy, suite.iv_len(), suite.icv_len()).expect("a long enough message");
        let opening = OpeningKey::new(suite, &keys[side], &[]).expect("a key of an AEAD");
        opening.open(parts.before, parts.iv, parts.body, &[], parts.icv).expect("a message of this side");
        let plaintext = strip_padding(parts.body).expect("padding");
        let mut payloads = parse_payloads(encrypted.first_payload, plaintext).expect("payloads");
        change(&mut payloads);
        let shape = EncryptedShape { iv_len: suite.iv_len(), block_len: suite.block_len(), icv_len: suite.icv_len() };
        let mut sealable = encode_encrypted(&message.header, &[], &payloads, shape).expect("a short message");
        let sealing = SealingKey::new(suite, &keys[side], &[]).expect("a key of an AEAD");
        let parts = sealable.parts();
        parts.iv.fill(0xee);
        sealing.seal(parts.before, parts.iv, parts.body, &[], parts.icv);
        Transmit { payload: sealable.message, ..transmit.clone() }
    }
}

/// Both ends before an IKE_AUTH message of `sender` arrives, and the keys that protect it.
fn before_auth_of(sender: usize) -> (Lab, Keys, Transmit) {
    let keys = Keys::default();
    let mut lab = Lab::plain();
    let end = Endpoint::new(Arc::new(config(connection(0))), Box::new(SeededEntropy::new(2)), lab.now);
    lab.ends[0] = end.with_key_log(Some(Box::new(keys.clone())));
    lab.tick(0);
    for _ in 0..2 + sender {
        assert!(lab.deliver());
    }
    let (from, message) = lab.wire.pop_front().expect("an IKE_AUTH message");
    assert_eq!(from, sender);
    (lab, keys, message)
}

fn authenticate_by(method: AuthMethod) -> impl Fn(&mut Vec<Payload>) {
    move |payloads| {
        for payload in payloads {
            if let Payload::Authentication(authentication) = payload {
                authentication.method = method;
            }
        }
    }
}

#[test]
fn a_peer_that_authenticates_by_something_else_than_a_shared_key_has_no_wrong_key() {
    for (method, name) in [
        (AuthMethod::DIGITAL_SIGNATURE, "digital signature"),
        (AuthMethod::RSA_DIGITAL_SIGNATURE, "RSA digital signature"),
        (AuthMethod(201), "method 201"),
    ] {
        for (sender, address) in ADDRESSES.iter().enumerate() {
            let (mut lab, keys, message) = before_auth_of(sender);
            lab.arrive(1 - sender, &keys.changed(sender, &message, authenticate_by(method)));
            lab.settle();
            lab.assert_paired(0);
            let told = lab.failures(1 - sender).remove(0);
            assert!(told.contains(name) && told.contains(&address.to_string()), "{told}");
            assert!(!told.contains("does not match"), "{told}");
            // It is the connection's error, and stands in its status.
            let status = lab.ends[1 - sender].status().remove(0);
            assert_eq!(status.last_error.map(|error| error.to_string()).as_ref(), Some(&told));
        }
    }
}

/// A certificate's name is seldom the one that a connection with a shared key expects; but it is not what is wrong first.
#[test]
fn another_method_is_told_before_another_identity() {
    for (sender, address) in ADDRESSES.iter().enumerate() {
        let (mut lab, keys, message) = before_auth_of(sender);
        let message = keys.changed(sender, &message, |payloads| {
            authenticate_by(AuthMethod::DIGITAL_SIGNATURE)(payloads);
            for payload in payloads {
                if let Payload::IdentificationInitiator(id) | Payload::IdentificationResponder(id) = payload
                    && *id == address.to_string().parse().expect("an identity")
                {
                    *id = "{9}:3000".parse().expect("an identity");
                }
            }
        });
        lab.arrive(1 - sender, &message);
        let told = lab.failures(1 - sender).remove(0);
        assert!(told.contains("{9}:3000 authenticates by digital signature"), "{told}");
    }
}

#[test]
fn a_child_that_is_answered_wrongly_is_told_of_with_what_is_wrong() {
    fn proposal(payloads: &mut [Payload]) -> &mut Proposal {
        let proposals = payloads.iter_mut().find_map(|payload| match payload {
            Payload::SecurityAssociation(proposals) => proposals.first_mut(),
            _ => None,
        });
        proposals.expect("a proposal")
    }
    fn selectors(payloads: &mut [Payload]) -> &mut Payload {
        let selectors = payloads.iter_mut().find(|one| one.payload_type() == PayloadType::TRAFFIC_SELECTORS_RESPONDER);
        selectors.expect("selectors")
    }
    type Change = fn(&mut Vec<Payload>);
    let cases: &[(Change, &str)] = &[
        (|all| proposal(all).number = 3, "chose proposal 3; only 1 was offered"),
        (
            |all| proposal(all).transforms[0].key_bits = Some(256),
            "chose AES_GCM_16_256, which proposal 1 does not offer",
        ),
        (|all| proposal(all).spi = vec![0, 0, 0, 255], "SPI 255, which is reserved"),
        (|all| proposal(all).spi = vec![1], "SPI of 1 byte"),
        (
            |all| *selectors(all) = Payload::TrafficSelectorsResponder(net("10.0.0.0/8")),
            "10.0.0.0/8, which was not offered",
        ),
        (
            |all| {
                let (payload_type, body) = (PayloadType::TRAFFIC_SELECTORS_RESPONDER, vec![1, 0, 0, 0, 10, 0, 0, 4]);
                *selectors(all) = Payload::Unknown { payload_type, critical: false, body };
            },
            "no traffic selector of a type that is known here",
        ),
    ];
    for (change, reason) in cases {
        let (mut lab, keys, message) = before_auth_of(1);
        lab.arrive(0, &keys.changed(1, &message, change));
        assert_eq!(lab.state(0), ConnectionState::Established);
        let told = lab.failures(0).remove(0);
        assert!(told.starts_with("Child SA net was not set up: ") && told.contains(reason), "{told:?}: {reason}");
        // The peer believes in the Child SA, and is told to drop it.
        lab.settle();
        assert!(lab.pairs[1].is_empty(), "{reason}");
    }
}

/// A responder that has forgotten what it was asked first can only say so in the clear, where anybody could.
#[test]
fn an_unprotected_error_in_place_of_the_ike_auth_response_is_told_when_the_attempt_ends() {
    let (mut lab, answer) = answered();
    lab.arrive(0, &answer);
    lab.ends[1] = Endpoint::new(Arc::new(config(connection(1))), Box::new(SeededEntropy::new(9)), lab.now);
    while lab.deliver() {}
    assert_eq!(lab.discards, [Discard::UnknownSpi, Discard::Cleartext]);
    assert_eq!(lab.state(0), ConnectionState::Connecting);
    let reason = reason_of_failure(&mut lab);
    assert!(reason.contains("no answer to IKE_AUTH") && reason.contains("INVALID_IKE_SPI"), "{reason}");
}

/// As an answer, with a public value that no group has.
fn without_public_value(answer: &Transmit) -> Transmit {
    changed(answer, |header, payloads| {
        header.responder_spi = IkeSpi([7; 8]);
        for payload in payloads {
            if let Payload::KeyExchange(value) = payload {
                value.data.fill(0);
            }
        }
    })
}

#[test]
fn a_forged_answer_whose_public_value_is_none_of_the_group_does_not_end_the_attempt() {
    for group in [&ke::X25519, &ke::ECP256, &ke::MODP2048] {
        let configs = [0, 1].map(|side| {
            let mut connection = connection(side);
            connection.ike_proposals[0].groups = vec![group];
            config(connection)
        });
        let mut lab = Lab::new(configs);
        lab.tick(0);
        lab.deliver();
        let answer = lab.wire.pop_front().expect("an answer").1;
        lab.arrive(0, &without_public_value(&answer));
        assert_eq!((lab.lose(), lab.state(0)), (0, ConnectionState::Connecting), "{group:?}");
        lab.arrive(0, &answer);
        lab.settle();
        lab.assert_paired(1);
    }
    // When nothing else comes, it is told.
    let (mut lab, answer) = answered();
    lab.arrive(0, &without_public_value(&answer));
    let reason = reason_of_failure(&mut lab);
    assert!(reason.contains("public value"), "{reason}");
}
