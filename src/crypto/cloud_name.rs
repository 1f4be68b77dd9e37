//! Algorithms in the words of the cloud's API: `IkeEncAlg`, `IkeAuthAlg`, `IkePfs`, `IpsecEncAlg`, `IpsecAuthAlg` and
//! `IpsecPfs` of CreateVpnConnection.
//!
//! A word is read once, where it comes in, and is a [`CloudName`] from there on. The API knows words for algorithms that
//! no table here has; such a connection can be made in the cloud, and whoever has to carry it out says that it cannot.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{EncryptionAlgorithm, IntegrityAlgorithm, KeyExchangeAlgorithm, encryption, integ, ke};

/// A word of the API, and the algorithm that it means if there is one here.
type Row<A> = (&'static str, Option<&'static A>);

/// A kind of algorithm that the API has words for.
pub trait InCloud: Sized + 'static {
    /// Every word, in the order of the API's documentation.
    const WORDS: &'static [Row<Self>];
    /// What the API takes when a call says nothing.
    const DEFAULT: &'static Row<Self>;
}

impl InCloud for EncryptionAlgorithm {
    const DEFAULT: &'static Row<Self> = &("aes", Some(&encryption::AES128_CBC));
    const WORDS: &'static [Row<Self>] =
        &[*Self::DEFAULT, ("aes192", None), ("aes256", Some(&encryption::AES256_CBC)), ("des", None), ("3des", None)];
}

/// As integrity algorithm, and in IKE the PRF with the same hash.
impl InCloud for IntegrityAlgorithm {
    const DEFAULT: &'static Row<Self> = &("sha256", Some(&integ::HMAC_SHA2_256_128));
    const WORDS: &'static [Row<Self>] = &[
        ("md5", None),
        ("sha1", Some(&integ::HMAC_SHA1_96)),
        *Self::DEFAULT,
        ("sha384", Some(&integ::HMAC_SHA2_384_192)),
        ("sha512", Some(&integ::HMAC_SHA2_512_256)),
    ];
}

impl InCloud for KeyExchangeAlgorithm {
    const DEFAULT: &'static Row<Self> = &("group14", Some(&ke::MODP2048));
    const WORDS: &'static [Row<Self>] =
        &[("group1", None), ("group2", Some(&ke::MODP1024)), ("group5", Some(&ke::MODP1536)), *Self::DEFAULT];
}

/// Words of the API alone, for the rows of its parameters: those of a table behind others.
const fn words<A: 'static, const N: usize>(before: &[&'static str], rows: &[Row<A>]) -> [&'static str; N] {
    let mut words = [""; N];
    let mut at = 0;
    while at < N {
        words[at] = if at < before.len() { before[at] } else { rows[at - before.len()].0 };
        at += 1;
    }
    words
}

/// The words of `IkeEncAlg` and `IpsecEncAlg`.
pub const ENCRYPTION_WORDS: &[&str] =
    &words::<_, { EncryptionAlgorithm::WORDS.len() }>(&[], EncryptionAlgorithm::WORDS);
/// The words of `IkeAuthAlg` and `IpsecAuthAlg`.
pub const INTEGRITY_WORDS: &[&str] = &words::<_, { IntegrityAlgorithm::WORDS.len() }>(&[], IntegrityAlgorithm::WORDS);
/// The words of `IkePfs`.
pub const GROUP_WORDS: &[&str] = &words::<_, { KeyExchangeAlgorithm::WORDS.len() }>(&[], KeyExchangeAlgorithm::WORDS);
/// The words of `IpsecPfs`.
pub const PFS_WORDS: &[&str] =
    &words::<_, { KeyExchangeAlgorithm::WORDS.len() + 1 }>(&[CloudPfs::DISABLED], KeyExchangeAlgorithm::WORDS);

/// An algorithm as the API names it. Written and read as its word.
#[derive(Serialize, Deserialize)]
#[serde(into = "String", try_from = "String", bound = "")]
pub struct CloudName<A: InCloud>(&'static Row<A>);

impl<A: InCloud> CloudName<A> {
    /// The word of the API.
    pub fn word(self) -> &'static str {
        self.0.0
    }

    /// The algorithm that it means.
    ///
    /// # Errors
    /// There is no such algorithm here; the sentence names those of the API's words that there are algorithms for.
    pub fn algorithm(self) -> Result<&'static A, NotSupported> {
        let (word, algorithm) = *self.0;
        algorithm.ok_or_else(|| NotSupported {
            word,
            supported: A::WORDS.iter().filter(|(_, algorithm)| algorithm.is_some()).map(|(word, _)| *word).collect(),
        })
    }
}

impl<A: InCloud> Default for CloudName<A> {
    fn default() -> Self {
        Self(A::DEFAULT)
    }
}

impl<A: InCloud> FromStr for CloudName<A> {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        let row = A::WORDS.iter().find(|(known, _)| *known == word);
        row.map(Self).ok_or_else(|| UnknownWord::new(A::WORDS.iter().map(|(word, _)| *word)))
    }
}

impl<A: InCloud> TryFrom<String> for CloudName<A> {
    type Error = UnknownWord;

    fn try_from(word: String) -> Result<Self, UnknownWord> {
        word.parse()
    }
}

impl<A: InCloud> From<CloudName<A>> for String {
    fn from(name: CloudName<A>) -> Self {
        name.word().to_owned()
    }
}

impl<A: InCloud> Clone for CloudName<A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: InCloud> Copy for CloudName<A> {}

impl<A: InCloud> PartialEq for CloudName<A> {
    fn eq(&self, other: &Self) -> bool {
        self.word() == other.word()
    }
}

impl<A: InCloud> Eq for CloudName<A> {}

impl<A: InCloud> fmt::Debug for CloudName<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl<A: InCloud> fmt::Display for CloudName<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// `IpsecPfs`: the key exchange of each Child SA (RFC 7296 1.3.1). Written and read as its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum CloudPfs {
    /// None: the keys follow from the IKE SA's.
    Disabled,
    /// One of the groups.
    Group(CloudName<KeyExchangeAlgorithm>),
}

impl CloudPfs {
    const DISABLED: &'static str = "disabled";

    /// The word of the API.
    pub fn word(self) -> &'static str {
        match self {
            Self::Disabled => Self::DISABLED,
            Self::Group(group) => group.word(),
        }
    }
}

impl Default for CloudPfs {
    fn default() -> Self {
        Self::Group(CloudName::default())
    }
}

impl FromStr for CloudPfs {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        if word == Self::DISABLED {
            return Ok(Self::Disabled);
        }
        word.parse().map(Self::Group).map_err(|_| UnknownWord::new(PFS_WORDS.iter().copied()))
    }
}

impl TryFrom<String> for CloudPfs {
    type Error = UnknownWord;

    fn try_from(word: String) -> Result<Self, UnknownWord> {
        word.parse()
    }
}

impl From<CloudPfs> for String {
    fn from(pfs: CloudPfs) -> Self {
        pfs.word().to_owned()
    }
}

/// The API has no such word here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("It may be {allowed}.")]
pub struct UnknownWord {
    allowed: String,
}

impl UnknownWord {
    fn new(words: impl Iterator<Item = &'static str>) -> Self {
        Self { allowed: words.collect::<Vec<_>>().join(", ") }
    }
}

/// The API has the word, and no algorithm here is meant by it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{word} is not supported; allowed: {}", supported.join(", "))]
pub struct NotSupported {
    word: &'static str,
    supported: Vec<&'static str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_are_read_and_written<A: InCloud + fmt::Debug + PartialEq>() {
        for (word, algorithm) in A::WORDS {
            let name: CloudName<A> = serde_json::from_value((*word).into()).unwrap();
            assert_eq!(serde_json::to_value(name).unwrap(), *word);
            assert_eq!(name.algorithm().ok(), *algorithm);
        }
        let unknown = "xor".parse::<CloudName<A>>().unwrap_err().to_string();
        assert!(A::WORDS.iter().all(|(word, _)| unknown.contains(word)), "{unknown}");
    }

    #[test]
    fn every_word_survives_being_stored() {
        words_are_read_and_written::<EncryptionAlgorithm>();
        words_are_read_and_written::<IntegrityAlgorithm>();
        words_are_read_and_written::<KeyExchangeAlgorithm>();
        assert_eq!(serde_json::from_str::<CloudPfs>("\"disabled\"").unwrap(), CloudPfs::Disabled);
        assert_eq!(serde_json::to_value("group5".parse::<CloudPfs>().unwrap()).unwrap(), "group5");
        assert_eq!(
            "modp768".parse::<CloudPfs>().unwrap_err().to_string(),
            "It may be disabled, group1, group2, group5, group14."
        );
    }

    /// The numbers of the groups are IANA's, and their hashes' names are the tables'.
    #[test]
    fn words_mean_what_they_say() {
        for (word, group) in KeyExchangeAlgorithm::WORDS {
            assert!(group.is_none_or(|group| format!("group{}", group.transform_id) == *word), "{word}");
        }
        for (word, integrity) in IntegrityAlgorithm::WORDS {
            assert!(integrity.is_none_or(|integrity| integrity.name == *word), "{word}");
        }
    }

    #[test]
    fn what_there_is_no_algorithm_for_is_told_with_what_there_is() {
        let des: CloudName<EncryptionAlgorithm> = "3des".parse().unwrap();
        assert_eq!(des.algorithm().unwrap_err().to_string(), "3des is not supported; allowed: aes, aes256");
    }
}
