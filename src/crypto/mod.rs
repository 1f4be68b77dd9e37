//! Algorithms as static tables; the only importer of cryptographic primitives.
//!
//! | table | rows | IKEv2 transform type |
//! |---|---|---|
//! | [`encryption::TABLE`] | [`EncryptionAlgorithm`] | 1 |
//! | [`prf::TABLE`] | [`PrfAlgorithm`] | 2 |
//! | [`integ::TABLE`] | [`IntegrityAlgorithm`] | 3 |
//! | [`ke::TABLE`] | [`KeyExchangeAlgorithm`] | 4 |
//!
//! Everything else derives from the rows: configuration names, proposals, the split of key material, overheads.
//! [`Suite`] joins rows into what protects a message; [`SealingKey`] and [`OpeningKey`] are a suite with keys.

mod aead;
mod cbc;
pub mod cipher;
pub mod cloud_name;
pub mod digest;
pub mod encryption;
pub mod fake;
pub mod integ;
mod iv;
pub mod ke;
mod mac;
pub mod prf;
pub mod psk;
pub mod random;
pub mod secret;

pub use cipher::{BadIcv, OpeningKey, SealingKey, Suite, WrongKeyLength};
pub use cloud_name::{CloudName, CloudPfs};
pub use encryption::EncryptionAlgorithm;
pub use integ::IntegrityAlgorithm;
pub use iv::IvSource;
pub use ke::{KeyExchange, KeyExchangeAlgorithm, KeyExchangeError};
pub use prf::PrfAlgorithm;
pub use random::{Entropy, SystemEntropy};
pub use secret::Secret;
