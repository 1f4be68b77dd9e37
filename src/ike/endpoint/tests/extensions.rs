//! Extensions of IKE, message by message: fragments, and tokens of quick crash detection.

use super::*;
use crate::ike::exchange::rekey::RekeyIke;
use crate::ike::state::IkeSa;
use crate::ike::{Extensions, RekeyWhat};
use crate::wire::ike::{
    EncryptedShape, ExchangeType, Flags, Fragment, IkeSpi, Notify, NotifyType, Payload, encode_encrypted,
    encode_message, parse_message,
};

fn with(extensions: Extensions) -> [Config; 2] {
    [0, 1].map(|side| config(Connection { extensions: extensions.clone(), ..connection(side) }))
}

/// Both ends send fragments of at most 140 bytes.
fn fragmenting() -> Lab {
    Lab::new(with(Extensions { fragment_size: Some(140), ..Extensions::default() }))
}

fn fragment_of(transmit: &Transmit) -> Option<Fragment> {
    parse_message(&transmit.payload).expect("a message").encrypted?.fragment
}

/// Takes what an end has sent from the wire.
fn take_all(lab: &mut Lab) -> Vec<Transmit> {
    lab.wire.drain(..).map(|(_, transmit)| transmit).collect()
}

/// Up to the IKE_AUTH request in fragments, which are taken from the wire.
fn auth_request(lab: &mut Lab) -> Vec<Transmit> {
    lab.tick(0);
    lab.tick(1);
    lab.deliver();
    lab.deliver();
    let request = take_all(lab);
    assert!(request.len() > 2, "{} fragments", request.len());
    for (index, transmit) in request.iter().enumerate() {
        let fragment = fragment_of(transmit).expect("a fragment");
        assert_eq!((usize::from(fragment.number), usize::from(fragment.total)), (index + 1, request.len()));
        assert!(transmit.payload.len() + 28 <= 140, "{} bytes", transmit.payload.len());
        assert_eq!(header(transmit).message_id, 1);
    }
    request
}

#[test]
fn a_handshake_in_fragments_is_authenticated() {
    let mut lab = fragmenting();
    lab.settle();
    lab.assert_paired(1);
    for what in [RekeyWhat::Child, RekeyWhat::Ike] {
        lab.command(1, Command::Rekey { connection: Arc::from("site"), what });
        lab.settle();
        lab.assert_paired(1);
    }
    assert_eq!(lab.discards, []);
}

#[test]
fn what_fits_is_sent_whole_and_a_probe_of_the_path_always() {
    let mut lab = fragmenting();
    lab.settle();
    let inbound_spi = lab.inbound(0)[0];
    lab.command(0, Command::ProbePath { inbound_spi, size: 1400 });
    let probe = take_all(&mut lab).remove(0);
    assert_eq!((fragment_of(&probe), probe.payload.len()), (None, 1400 - 28));
}

#[test]
fn a_repeated_request_is_answered_for_its_authentic_first_fragment_alone() {
    let mut lab = fragmenting();
    let request = auth_request(&mut lab);
    for fragment in &request {
        lab.arrive(1, fragment);
    }
    let answer: Vec<_> = take_all(&mut lab).into_iter().map(|transmit| transmit.payload).collect();
    assert!(answer.len() > 1);
    for (index, fragment) in request.iter().enumerate() {
        lab.arrive(1, fragment);
        let again: Vec<_> = take_all(&mut lab).into_iter().map(|transmit| transmit.payload).collect();
        assert_eq!(again, if index == 0 { answer.clone() } else { Vec::new() }, "fragment {}", index + 1);
    }
    let mut forged = request[0].clone();
    *forged.payload.last_mut().expect("bytes") ^= 1;
    lab.arrive(1, &forged);
    assert_eq!(take_all(&mut lab).len(), 0);
    assert_eq!(lab.discards.last(), Some(&Discard::Forged));
}

/// Who has negotiated keys but proven nothing gets no answer for a fragment of its own making: it would go to whatever
/// address the datagram claims to come from.
#[test]
fn before_it_is_authenticated_nobody_has_an_answer_repeated_by_a_fragment() {
    let mut lab = fragmenting();
    let request = auth_request(&mut lab);
    let header = header(&request[0]);
    // The responder has the keys from here on.
    lab.arrive(1, &request[0]);
    let (mut forged, now) = (Vec::new(), lab.now);
    lab.ends[0].connections.with_ike_sa(header.initiator_spi, now, |mut sa, _| {
        if let IkeSa::AuthSent(state) = &mut sa {
            let sealer = state.channel_mut().sealer_mut();
            let (mut entropy, payloads) = (SeededEntropy::new(9), [Payload::VendorId(vec![0; 200])]);
            forged = sealer.seal(ExchangeType::IKE_AUTH, false, 0, &payloads, 100, &mut entropy).expect("fragments");
        }
        Ok(sa)
    });
    assert!(forged.len() > 1);
    let victim = Path { local: SocketAddr::new([203, 0, 113, 99].into(), 500), ..request[0].path };
    take_all(&mut lab);
    for payload in forged {
        lab.arrive(1, &Transmit { payload, path: victim, ..request[0].clone() });
        assert_eq!(take_all(&mut lab).len(), 0);
    }
    assert!(!lab.discards.is_empty());
}

/// A peer that repeats its request in finer fragments gets its answer again (RFC 7383 2.6.1).
#[test]
fn another_division_of_an_answered_request_is_known_by_its_first_fragment() {
    let mut lab = fragmenting();
    lab.settle();
    let mut spis = None;
    // The same request, sealed once more with another limit: as an initiator would that finds its path narrower.
    lab.command(0, Command::Rekey { connection: Arc::from("site"), what: RekeyWhat::Child });
    let request = take_all(&mut lab);
    assert!(request.len() > 1);
    for fragment in &request {
        spis.get_or_insert((header(fragment).initiator_spi, header(fragment).responder_spi));
        lab.arrive(1, fragment);
    }
    let answer = take_all(&mut lab).len();
    let header = header(&request[0]);
    let mut finer = Vec::new();
    let now = lab.now;
    lab.ends[0].connections.act(spis.expect("an IKE SA").0, now, |sa, _, _, _| {
        let (mut entropy, payloads) = (SeededEntropy::new(9), [Payload::VendorId(vec![0; 500])]);
        let kind = ExchangeType::CREATE_CHILD_SA;
        finer = sa
            .channel_mut()
            .sealer_mut()
            .seal(kind, false, header.message_id, &payloads, 100, &mut entropy)
            .expect("fragments");
    });
    for (index, payload) in finer.into_iter().enumerate() {
        lab.arrive(1, &Transmit { payload, ..request[0].clone() });
        assert_eq!(take_all(&mut lab).len(), if index == 0 { answer } else { 0 });
    }
}

#[test]
fn forged_and_doubled_fragments_have_no_effect() {
    let mut lab = fragmenting();
    let request = auth_request(&mut lab);
    for fragment in request.iter().rev() {
        let mut forged = fragment.clone();
        *forged.payload.last_mut().expect("bytes") ^= 1;
        lab.arrive(1, &forged);
        assert_eq!(lab.discards.pop(), Some(Discard::Forged));
        lab.arrive(1, fragment);
        lab.arrive(1, fragment);
    }
    assert!(lab.discards.iter().all(|discard| *discard == Discard::Fragment), "{:?}", lab.discards);
    lab.settle();
    lab.assert_paired(1);
}

#[test]
fn no_fragment_is_taken_that_was_not_agreed_on() {
    let mut lab = fragmenting();
    let request = auth_request(&mut lab);
    let mut alone = Lab::new({
        let off = Extensions { fragment_size: None, ..Extensions::default() };
        [config(connection(0)), config(Connection { extensions: off, ..connection(1) })]
    });
    alone.tick(0);
    alone.deliver();
    alone.deliver();
    let whole = take_all(&mut alone);
    assert_eq!((whole.len(), fragment_of(&whole[0])), (1, None));
    // With the SPIs of that IKE SA.
    let mut fragment = request[0].clone();
    fragment.payload[..16].copy_from_slice(&whole[0].payload[..16]);
    alone.arrive(1, &fragment);
    assert_eq!(alone.discards, [Discard::Fragment]);
}

/// Up, with both ends giving tokens.
fn with_tokens() -> Lab {
    let mut lab = Lab::new([config(connection(0)), config(connection(1))]);
    for (side, end) in lab.ends.iter_mut().enumerate() {
        end.connections.ike_sas.token_secret = Some(Secret::new(vec![side as u8; 32]));
    }
    lab.settle();
    lab.assert_paired(1);
    lab
}

/// What an end says to a request on an IKE SA with these SPIs, whose sender is its initiator or not.
fn answer_to(lab: &mut Lab, side: usize, spis: (IkeSpi, IkeSpi), initiator: bool) -> Vec<NotifyType> {
    let flags = Flags { initiator, ..Flags::default() };
    let question = Header::new(spis.0, spis.1, ExchangeType::INFORMATIONAL, flags, 7);
    let shape = EncryptedShape { iv_len: 8, block_len: 1, icv_len: 16 };
    let payload = encode_encrypted(&question, &[], &[], shape).expect("a short message").message;
    let path = Path {
        local: SocketAddr::new(ADDRESSES[1 - side].into(), 500),
        peer: SocketAddr::new(ADDRESSES[side].into(), 500),
        non_esp_marker: false,
    };
    lab.wire.clear();
    lab.arrive(side, &Transmit::new(path, payload));
    let answers = take_all(lab);
    let payloads = answers.iter().flat_map(|answer| parse_message(&answer.payload).expect("a message").payloads);
    payloads
        .filter_map(|payload| if let Payload::Notify(notify) = payload { Some(notify.kind) } else { None })
        .collect()
}

fn spis(lab: &Lab) -> (IkeSpi, IkeSpi) {
    let sa = lab.ends[0].status().remove(0).ike_sa.expect("an IKE SA");
    (sa.initiator_spi, sa.responder_spi)
}

#[test]
fn a_token_is_told_only_of_an_ike_sa_that_is_lost() {
    const DISOWNED: [NotifyType; 2] = [NotifyType::INVALID_IKE_SPI, NotifyType::QUICK_CRASH_DETECTION];
    let mut lab = with_tokens();
    let (initiator, responder) = spis(&lab);
    let unknown = IkeSpi([9; 8]);
    for from_initiator in [true, false] {
        for side in 0..2 {
            for spis in [(initiator, responder), (initiator, unknown), (unknown, responder)] {
                let ours = [spis.0, spis.1][side];
                let said = answer_to(&mut lab, side, spis, from_initiator);
                let exists = ours != unknown;
                assert!(!exists || !said.contains(&DISOWNED[1]), "{spis:?} at {side}: {said:?}");
            }
        }
    }
    assert_eq!(answer_to(&mut lab, 1, (unknown, unknown), true), DISOWNED);
    // Nor of one that is about to be there.
    lab.command(0, Command::Rekey { connection: Arc::from("site"), what: RekeyWhat::Ike });
    lab.deliver();
    let rekey = lab.ends[0].connections.ike_sas.established(&initiator).and_then(|state| state.agenda().rekey());
    let new = rekey.map(RekeyIke::spi);
    let new = new.expect("a rekey under way");
    assert_eq!(answer_to(&mut lab, 0, (new, unknown), false), DISOWNED[..1]);
}

#[test]
fn nothing_is_said_of_tokens_where_they_are_off() {
    let off = Extensions { quick_crash_detection: false, ..Extensions::default() };
    let mut lab = Lab::new(with(off));
    for end in &mut lab.ends {
        end.connections.ike_sas.token_secret = Some(Secret::new(vec![7; 32]));
    }
    lab.settle();
    lab.assert_paired(1);
    assert_eq!(lab.sent, [2, 2]);
    let unknown = (IkeSpi([8; 8]), IkeSpi([9; 8]));
    assert_eq!(answer_to(&mut lab, 1, unknown, true), [NotifyType::INVALID_IKE_SPI]);
}

/// The answer of an end that has lost the IKE SA, with this token in it.
fn disown(lab: &mut Lab, token: Vec<u8>) {
    let (initiator, responder) = spis(lab);
    let flags = Flags { response: true, ..Flags::default() };
    let answer = Header::new(initiator, responder, ExchangeType::INFORMATIONAL, flags, 2);
    let notify = Payload::Notify(Notify::new(NotifyType::QUICK_CRASH_DETECTION, token));
    let payload = encode_message(&answer, &[notify]).expect("a short message");
    let path = Path {
        local: SocketAddr::new(ADDRESSES[1].into(), 500),
        peer: SocketAddr::new(ADDRESSES[0].into(), 500),
        non_esp_marker: false,
    };
    lab.arrive(0, &Transmit::new(path, payload));
}

#[test]
fn the_right_token_ends_an_ike_sa_silently_and_a_new_one_is_asked_for_at_once() {
    let mut lab = with_tokens();
    let before = spis(&lab);
    for wrong in [vec![1; 32], Vec::new(), vec![2; 200]] {
        disown(&mut lab, wrong);
        assert_eq!((spis(&lab), lab.wire.len()), (before, 0));
    }
    let at = |side: u8| [&before.0.0[..], &before.1.0[..], &[u8::from(side == 0)]].concat();
    let token = |side: u8| crate::crypto::digest::hmac_sha256(&[side; 32], &[&at(side)]).to_vec();
    disown(&mut lab, token(0));
    assert_eq!((spis(&lab), lab.wire.len()), (before, 0), "its own token");
    disown(&mut lab, token(1));
    assert_eq!((lab.state(0), lab.wire.len()), (ConnectionState::Down, 0), "nothing is said on the old one");
    assert!(lab.pairs[0].is_empty());
    lab.tick(0);
    assert_eq!(lab.wire.len(), 1);
    assert_eq!(header(&lab.wire[0].1).exchange_type, ExchangeType::IKE_SA_INIT);
}
