use super::replay::Replayed;
use super::*;
use crate::crypto::fake::SeededEntropy;
use crate::crypto::{EncryptionAlgorithm, IvSource, Suite, encryption, integ};
use crate::wire::esp::write_trailer;
use proptest::prelude::*;

fn suites() -> Vec<Suite> {
    let mut suites = Vec::new();
    for encryption in encryption::TABLE.iter().copied() {
        if encryption.is_aead() {
            suites.extend(Suite::new(encryption, None));
        } else {
            suites.extend(integ::TABLE.iter().filter_map(|integrity| Suite::new(encryption, Some(integrity))));
        }
    }
    assert!(suites.len() >= 3 + 2 * 3, "the suites of the field are there");
    suites
}

fn keys(suite: Suite) -> (Vec<u8>, Vec<u8>) {
    let fill = |length: usize, salt: u8| (0..length).map(|n| n as u8 ^ salt).collect::<Vec<_>>();
    (fill(suite.encryption_key_len(), 0x5a), fill(suite.integrity_key_len(), 0xa5))
}

fn pair(suite: Suite, extended: bool, limits: Limits) -> (OutboundSa, InboundSa) {
    let (encryption, integrity) = keys(suite);
    let iv_source = IvSource::new(suite, &mut SeededEntropy::new(7));
    let outbound = OutboundSa::new(0x1234_5678, suite, &encryption, &integrity, iv_source, extended, limits).unwrap();
    let inbound = InboundSa::new(0x1234_5678, suite, &encryption, &integrity, extended, 1024, limits).unwrap();
    (outbound, inbound)
}

fn seal(sa: &mut OutboundSa, inner: &[u8], next_header: u8) -> Vec<u8> {
    let overhead = sa.overhead();
    let mut room = vec![0xee; overhead.sealed_len(inner.len())];
    room[overhead.header_len()..][..inner.len()].copy_from_slice(inner);
    let sealed = sa.seal(&mut room, inner.len(), next_header).unwrap();
    assert_eq!(sealed, room.len());
    room
}

fn gcm() -> Suite {
    let algorithm: &'static EncryptionAlgorithm = &encryption::AES128_GCM_16;
    Suite::new(algorithm, None).unwrap()
}

#[test]
fn every_suite_opens_what_it_sealed() {
    for suite in suites() {
        for extended in [false, true] {
            let (mut outbound, mut inbound) = pair(suite, extended, Limits::UNLIMITED);
            for length in [1, 20, 21, 22, 23, 100, 1400, 9000] {
                let inner: Vec<u8> = (0..length).map(|n| n as u8).collect();
                let mut packet = seal(&mut outbound, &inner, 4);
                let opened = inbound.open(&mut packet).unwrap();
                assert_eq!((&*opened.packet, opened.next_header, opened.newest), (&inner[..], 4, true), "{suite:?}");
            }
            assert_eq!(inbound.packets(), outbound.packets());
            assert_eq!(inbound.bytes(), outbound.bytes());
        }
    }
}

#[test]
fn extended_numbers_cross_the_wrap() {
    for suite in suites() {
        let (outbound, mut inbound) = pair(suite, true, Limits::UNLIMITED);
        let mut outbound = outbound.starting_after((1 << 32) - 3);
        let packets: Vec<_> = (0..6u8).map(|n| seal(&mut outbound, &[n; 40], 4)).collect();
        // Out of order over the wrap: the window and the extension must agree.
        for n in [0, 4, 1, 3, 2, 5] {
            let mut packet = packets[n].clone();
            let opened = inbound.open(&mut packet).unwrap_or_else(|error| panic!("{suite:?} {n}: {error}"));
            assert_eq!(opened.packet, [n as u8; 40]);
        }
        assert_eq!(inbound.highest_sequence(), (1 << 32) + 3);
        for packet in &packets {
            assert_eq!(inbound.open(&mut packet.clone()), Err(OpenError::Replayed(Replayed::Seen)));
        }
    }
}

#[test]
fn short_numbers_never_cycle() {
    let (outbound, _) = pair(gcm(), false, Limits::UNLIMITED);
    let mut outbound = outbound.starting_after(u64::from(u32::MAX) - 1);
    seal(&mut outbound, &[1; 40], 4);
    assert_eq!(outbound.seal(&mut [0; 100], 40, 4), Err(Exhausted));
    assert_eq!(outbound.sequence(), u64::from(u32::MAX));
}

#[test]
fn hard_limits_stop_both_directions() {
    let limits = Limits { soft_packets: 1, hard_packets: 2, ..Limits::UNLIMITED };
    let (mut outbound, mut inbound) = pair(gcm(), false, limits);
    let mut first = seal(&mut outbound, &[1; 40], 4);
    assert_eq!(outbound.standing(), Standing::RekeyDue);
    let mut second = seal(&mut outbound, &[2; 40], 4);
    assert_eq!(outbound.seal(&mut [0; 100], 40, 4), Err(Exhausted));
    inbound.open(&mut first).unwrap();
    inbound.open(&mut second).unwrap();
    let (mut fresh, _) = pair(gcm(), false, Limits::UNLIMITED);
    (0..2).for_each(|_| drop(seal(&mut fresh, &[0; 40], 4)));
    let mut forged = seal(&mut fresh, &[3; 40], 4);
    *forged.last_mut().expect("an ICV") ^= 1;
    assert_eq!(inbound.open(&mut forged), Err(OpenError::BadIcv), "no sign of life");
    let mut last = seal(&mut fresh, &[3; 40], 4);
    let mut again = last.clone();
    assert_eq!(inbound.open(&mut last), Err(OpenError::Exhausted));
    assert!(matches!(inbound.open(&mut again), Err(OpenError::Replayed(_))), "nor is a repetition");
}

#[test]
fn forged_packets_leave_the_window_where_it_was() {
    for suite in suites() {
        let (mut outbound, mut inbound) = pair(suite, false, Limits::UNLIMITED);
        let genuine = seal(&mut outbound, &[1; 64], 4);
        for at in 4..genuine.len() {
            let mut forged = genuine.clone();
            forged[at] ^= 0x40;
            assert!(inbound.open(&mut forged).is_err(), "{suite:?}: byte {at} is not protected");
        }
        let mut future = genuine.clone();
        future[4] = 0x70;
        assert_eq!(inbound.open(&mut future), Err(OpenError::BadIcv));
        assert_eq!((inbound.highest_sequence(), inbound.packets()), (0, 0));
        assert!(inbound.open(&mut genuine.clone()).is_ok());
    }
}

#[test]
fn dummies_and_tfc_padding() {
    let (mut outbound, mut inbound) = pair(gcm(), false, Limits::UNLIMITED);
    assert_eq!(inbound.open(&mut seal(&mut outbound, &[0; 33], 59)), Err(OpenError::Dummy));
    let padded = [&[0x45; 20][..], &[0; 500]].concat();
    let mut packet = seal(&mut outbound, &padded, 4);
    assert_eq!(inbound.open(&mut packet).unwrap().packet.len(), 520, "who reads the inner header cuts it");
}

#[test]
fn wrong_padding_is_noticed_after_authentication() {
    let suite = gcm();
    let (encryption, _) = keys(suite);
    let (_, mut inbound) = pair(suite, false, Limits::UNLIMITED);
    let key = crate::crypto::SealingKey::new(suite, &encryption, &[]).unwrap();
    let header = crate::wire::esp::EspHeader { spi: 0x1234_5678, sequence: 9 }.to_bytes();
    let mut body = [0x45u8; 28];
    write_trailer(&mut body[20..], 4);
    body[22] = 0x77;
    let (iv, mut icv) = ([3; 8], [0; 16]);
    key.seal(&header, &iv, &mut body, &[], &mut icv);
    let mut packet = [&header[..], &iv, &body, &icv].concat();
    assert_eq!(inbound.open(&mut packet.clone()), Err(OpenError::BadPadding));
    assert_eq!(inbound.open(&mut packet), Err(OpenError::Replayed(Replayed::Seen)), "it was authentic all the same");
}

/// The packet of RFC 7634 appendix A: ChaCha20-Poly1305, SPI 01020304, sequence number 5.
#[test]
fn the_packet_of_rfc_7634_opens() {
    let key = hex::decode("808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9fa0a1a2a3").unwrap();
    let suite = Suite::new(encryption::by_name("chacha20poly1305").unwrap(), None).unwrap();
    let mut packet = hex::decode(concat!(
        "0102030400000005",
        "1011121314151617",
        "24039428b97f417e3c13753a4f05087b67c352e6a7fab1b982d466ef407ae5c6",
        "14ee8099d52844eb61aa95dfab4c02f72aa71e7c4c4f64c9befe2facc638e8f3",
        "cbec163fac469b502773f6fb94e664da9165b82829f641e0",
        "76aaa8266b7fb0f7b11b369907e1ad43",
    ))
    .unwrap();
    let mut inbound = InboundSa::new(0x0102_0304, suite, &key, &[], false, 64, Limits::UNLIMITED).unwrap();
    let opened = inbound.open(&mut packet).unwrap();
    let inner = hex::decode(concat!(
        "45000054a6f200004001e778c6336405c000020508005b7a3a080000553bec10",
        "0007362708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20212223",
        "2425262728292a2b2c2d2e2f3031323334353637",
    ))
    .unwrap();
    assert_eq!((&*opened.packet, opened.next_header), (&inner[..], 4));
}

proptest! {
    #[test]
    fn any_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), extended in any::<bool>(), suite in 0usize..9) {
        let suites = suites();
        let (_, mut inbound) = pair(suites[suite % suites.len()], extended, Limits::UNLIMITED);
        prop_assert!(inbound.open(&mut bytes.clone()).is_err());
        prop_assert_eq!(inbound.highest_sequence(), 0);
    }

    #[test]
    fn no_sequence_number_is_used_twice(lengths in proptest::collection::vec(1usize..100, 1..60)) {
        let (mut outbound, _) = pair(gcm(), false, Limits::UNLIMITED);
        let mut seen = std::collections::BTreeSet::new();
        for length in lengths {
            let packet = seal(&mut outbound, &vec![0; length], 4);
            prop_assert!(seen.insert((packet[4..8].to_vec(), packet[8..16].to_vec())));
        }
    }
}
