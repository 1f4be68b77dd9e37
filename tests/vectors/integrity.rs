//! Integrity algorithms, with the key and ICV lengths that IKE and ESP give them.

use ipsec_gateway::crypto::{OpeningKey, SealingKey, Suite, encryption, integ};

use crate::record::records;

/// The message stands where SPI, sequence number and IV would; the body is empty.
#[test]
fn published_vectors() {
    for algorithm in integ::TABLE.iter().copied() {
        for record in records("integrity", algorithm.name) {
            let suite = Suite::new(&encryption::AES128_CBC, Some(algorithm)).expect("CBC with an HMAC");
            let data = record.field("data");
            let (before, iv) = data.split_at(data.len() - suite.iv_len());
            let mut icv = vec![0; algorithm.icv_len];
            let sealing = SealingKey::new(suite, &[0; 16], record.field("key")).expect("keys of the right length");
            sealing.seal(before, iv, &mut [], &[], &mut icv);
            assert_eq!(hex::encode(&icv), hex::encode(record.field("icv")), "{algorithm:?}");
            let opening = OpeningKey::new(suite, &[0; 16], record.field("key")).expect("keys of the right length");
            assert_eq!(opening.open(before, iv, &mut [], &[], &icv), Ok(()));
        }
    }
}
