use super::*;
use crate::crypto::{encryption, fake, integ};

/// Every suite that the tables allow, and the stand-in.
fn suites() -> Vec<Suite> {
    let mut suites = vec![fake::SUITE];
    for encryption in encryption::TABLE {
        suites.extend(Suite::new(encryption, None));
        suites.extend(integ::TABLE.iter().filter_map(|integrity| Suite::new(encryption, Some(integrity))));
    }
    suites
}

fn keys(suite: Suite) -> (SealingKey, OpeningKey) {
    let encryption_key: Vec<u8> = (0..).take(suite.encryption_key_len()).collect();
    let integrity_key: Vec<u8> = (100..).take(suite.integrity_key_len()).collect();
    let sealing = SealingKey::new(suite, &encryption_key, &integrity_key).expect("keys of the right lengths");
    let opening = OpeningKey::new(suite, &encryption_key, &integrity_key).expect("keys of the right lengths");
    (sealing, opening)
}

/// A sealed message in its parts.
#[derive(Clone)]
struct Message {
    before: Vec<u8>,
    iv: Vec<u8>,
    body: Vec<u8>,
    after: Vec<u8>,
    icv: Vec<u8>,
}

impl Message {
    fn seal(key: &SealingKey, body: &[u8]) -> Self {
        let suite = key.suite();
        let after = if suite.encryption.is_aead() { vec![] } else { vec![0, 0, 0, 7] };
        let (iv, mut icv) = (vec![9; suite.iv_len()], vec![0; suite.icv_len()]);
        let mut body = body.to_vec();
        key.seal(b"in clear", &iv, &mut body, &after, &mut icv);
        Self { before: b"in clear".to_vec(), iv, body, after, icv }
    }

    fn open(mut self, key: &OpeningKey) -> Result<Vec<u8>, BadIcv> {
        key.open(&self.before, &self.iv, &mut self.body, &self.after, &self.icv).map(|()| self.body)
    }

    fn parts(&mut self) -> [&mut Vec<u8>; 5] {
        [&mut self.before, &mut self.iv, &mut self.body, &mut self.after, &mut self.icv]
    }
}

#[test]
fn integrity_is_protected_exactly_once() {
    assert_eq!(Suite::new(&encryption::AES128_CBC, None), None);
    assert_eq!(Suite::new(&encryption::AES128_GCM_16, Some(&integ::HMAC_SHA2_256_128)), None);
    assert_eq!(suites().len(), 1 + 3 + 2 * 4);
}

#[test]
fn opening_undoes_sealing() {
    for suite in suites() {
        let (sealing, opening) = keys(suite);
        for len in [0, 16, 32, 160, 1408] {
            let plaintext: Vec<u8> = (0..len).map(|at| at as u8).collect();
            let message = Message::seal(&sealing, &plaintext);
            assert!(len == 0 || message.body != plaintext, "{suite:?}");
            assert_eq!(message.open(&opening), Ok(plaintext), "{suite:?}, {len} bytes");
        }
    }
}

#[test]
fn every_changed_bit_is_noticed() {
    for suite in suites() {
        let (sealing, opening) = keys(suite);
        let mut message = Message::seal(&sealing, &[5; 32]);
        for part in 0..5 {
            for bit in 0..message.parts()[part].len() * 8 {
                let mut changed = message.clone();
                changed.parts()[part][bit / 8] ^= 1 << (bit % 8);
                assert_eq!(changed.open(&opening), Err(BadIcv), "{suite:?}, part {part}, bit {bit}");
            }
        }
    }
}

#[test]
fn every_other_length_is_refused() {
    for suite in suites() {
        let (sealing, opening) = keys(suite);
        let mut message = Message::seal(&sealing, &[5; 32]);
        for part in 0..5 {
            for len in 0..message.parts()[part].len() {
                let mut shortened = message.clone();
                shortened.parts()[part].truncate(len);
                assert_eq!(shortened.open(&opening), Err(BadIcv), "{suite:?}, part {part}, {len} bytes");
            }
            let mut lengthened = message.clone();
            lengthened.parts()[part].push(0);
            assert_eq!(lengthened.open(&opening), Err(BadIcv), "{suite:?}, part {part}, a byte more");
        }
    }
}

/// A peer that holds the key but sends a body of no whole blocks gets an error, not a panic.
#[test]
fn an_authentic_body_of_broken_blocks_is_refused() {
    let suite = Suite::new(&encryption::AES128_CBC, Some(&integ::HMAC_SHA2_256_128)).expect("CBC with an HMAC");
    let (_, opening) = keys(suite);
    let integrity_key: Vec<u8> = (100..).take(32).collect();
    let mut icv = [0; 16];
    let mut body = [1; 17];
    HmacKey::new(integ::HMAC_SHA2_256_128.hash, &integrity_key).sign(&[b"", &[0; 16], &body], &mut icv);
    assert_eq!(opening.open(b"", &[0; 16], &mut body, b"", &icv), Err(BadIcv));
}

#[test]
fn keys_of_wrong_length_are_refused() {
    for suite in suites() {
        let expected = (suite.encryption_key_len(), suite.integrity_key_len());
        for (encryption_len, integrity_len) in [(expected.0 - 1, expected.1), (expected.0, expected.1 + 1), (0, 0)] {
            let (encryption_key, integrity_key) = (vec![0; encryption_len], vec![0; integrity_len]);
            let error = WrongKeyLength { expected, actual: (encryption_len, integrity_len) };
            assert_eq!(SealingKey::new(suite, &encryption_key, &integrity_key).err(), Some(error));
            assert_eq!(OpeningKey::new(suite, &encryption_key, &integrity_key).err(), Some(error));
        }
    }
}

#[test]
fn names_and_debug_output_tell_the_suite_and_no_key() {
    let suite = Suite::new(&encryption::AES256_CBC, Some(&integ::HMAC_SHA1_96)).expect("CBC with an HMAC");
    assert_eq!(suite.name(), "aes256-sha1");
    assert!(suite.is_weak());
    let (sealing, _) = keys(suite);
    assert_eq!(format!("{sealing:?}"), "SealingKey { suite: aes256-sha1, .. }");
}
