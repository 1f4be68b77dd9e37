use super::*;
use crate::crypto::fake::SeededEntropy;

#[test]
fn rows_are_found_by_name_and_number() {
    for row in TABLE {
        assert_eq!(by_name(row.name), Some(*row));
        assert_eq!(by_id(row.transform_id), Some(*row));
    }
    assert_eq!(by_name("modp768"), None);
}

#[test]
fn both_sides_agree_in_every_group() {
    let mut entropy = SeededEntropy::new(1);
    for row in TABLE {
        let (ours, theirs) = (row.generate(&mut entropy), row.generate(&mut entropy));
        let (our_public, their_public) = (ours.public().to_vec(), theirs.public().to_vec());
        assert_eq!((our_public.len(), their_public.len()), (row.public_len, row.public_len), "{row:?}");
        assert_ne!(our_public, their_public, "{row:?}");
        let ours = ours.agree(&their_public).expect("a generated public value");
        assert_eq!(ours, theirs.agree(&our_public).expect("a generated public value"), "{row:?}");
        assert!(ours.as_bytes().iter().any(|byte| *byte != 0), "{row:?}");
    }
}

#[test]
fn public_values_of_another_length_are_refused() {
    let mut entropy = SeededEntropy::new(2);
    for row in TABLE {
        let public = row.generate(&mut entropy).public().to_vec();
        for peer in [&[][..], &public[1..], &[&public[..], &[0]].concat()] {
            let error = row.generate(&mut entropy).agree(peer);
            assert_eq!(error, Err(KeyExchangeError::WrongLength { expected: row.public_len, actual: peer.len() }));
        }
    }
}

/// Zero is no point of a curve, of small order on Curve25519, and outside every MODP group; nor is all-ones valid
/// anywhere but on Curve25519, where RFC 7748 has it reduced.
#[test]
fn public_values_outside_the_group_are_refused() {
    let mut entropy = SeededEntropy::new(3);
    for row in TABLE {
        let zero = vec![0; row.public_len];
        assert_eq!(row.generate(&mut entropy).agree(&zero), Err(KeyExchangeError::InvalidPublicValue), "{row:?}");
        if row.transform_id != 31 {
            let ones = vec![0xff; row.public_len];
            assert_eq!(row.generate(&mut entropy).agree(&ones), Err(KeyExchangeError::InvalidPublicValue), "{row:?}");
        }
    }
}

#[test]
fn a_value_outside_the_group_leaves_the_key_for_another_one() {
    let mut entropy = SeededEntropy::new(6);
    for row in TABLE {
        let (mut ours, theirs) = (row.generate(&mut entropy), row.generate(&mut entropy));
        let wrong = vec![0; row.public_len];
        assert_eq!(ours.try_agree(&wrong), Err(KeyExchangeError::InvalidPublicValue), "{row:?}");
        let (our_public, their_public) = (ours.public().to_vec(), theirs.public().to_vec());
        assert_eq!(ours.try_agree(&their_public), theirs.agree(&our_public), "{row:?}");
    }
}

#[test]
fn off_curve_points_are_refused() {
    let mut entropy = SeededEntropy::new(4);
    for row in [&ECP256, &ECP384] {
        let mut public = row.generate(&mut entropy).public().to_vec();
        public[row.public_len - 1] ^= 1;
        assert_eq!(row.generate(&mut entropy).agree(&public), Err(KeyExchangeError::InvalidPublicValue));
    }
}

#[test]
fn a_seed_fixes_the_keys_of_the_rows_that_draw_from_it() {
    for row in TABLE.iter().filter(|row| !row.name.starts_with("ecp")) {
        let public = |seed| row.generate(&mut SeededEntropy::new(seed)).public().to_vec();
        assert_eq!(public(5), public(5), "{row:?}");
        assert_ne!(public(5), public(6), "{row:?}");
    }
}
