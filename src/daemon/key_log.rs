//! Keys for Wireshark and tshark, where `key_log` asks for them: two files that stand in a folder of their profile.
//!
//! | file | a line |
//! |---|---|
//! | `ikev2_decryption_table` | SPIi, SPIr, SK_ei, SK_er, encryption, SK_ai, SK_ar, integrity |
//! | `esp_sa` | family, source, destination, SPI, encryption, key, integrity, key |
//!
//! What these tables have no column for stands in comments: SK_d, SK_pi and SK_pr, and every key of an algorithm that
//! Wireshark does not know (ChaCha20-Poly1305).

use std::fmt::Write as _;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::error;
use zeroize::Zeroizing;

use crate::crypto::{EncryptionAlgorithm, IntegrityAlgorithm, Suite, encryption, integ};
use crate::ike::key_log::{IkeKeyMaterial, KeyLog};
use crate::ike::{ChildSa, SaKeys};

/// Room for the longest line, so that none is copied as it grows.
const LINE: usize = 2048;

/// The open files of a key log. A file that cannot be written is told once.
pub struct KeyLogFiles {
    ike: File,
    esp: File,
    failed: AtomicBool,
}

impl KeyLogFiles {
    /// Opens the files in `folder` to append to them; makes what is missing, for the owner's eyes only.
    ///
    /// # Errors
    /// The system refuses.
    pub fn open(folder: &Path) -> io::Result<Self> {
        let about = |error: io::Error| io::Error::new(error.kind(), format!("key_log {}: {error}", folder.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(about)?;
        let open = |name| {
            let mut options = OpenOptions::new();
            options.append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
            let file = options.open(folder.join(name))?;
            // One that was there before, in a profile of Wireshark say.
            if file.metadata()?.mode() & 0o077 != 0 {
                let told = format!("others may read {name}; allowed: 0600 (run chmod 600 on it)");
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, told));
            }
            Ok(file)
        };
        let (ike, esp) = (open("ikev2_decryption_table").map_err(about)?, open("esp_sa").map_err(about)?);
        Ok(Self { ike, esp, failed: AtomicBool::new(false) })
    }

    fn write(&self, mut file: &File, line: &str) {
        if let Err(error) = file.write_all(line.as_bytes())
            && !self.failed.swap(true, Ordering::Relaxed)
        {
            error!(%error, "key_log: the keys of an SA are not written");
        }
    }
}

impl KeyLog for KeyLogFiles {
    fn ike_sa(&self, keys: &IkeKeyMaterial<'_>) {
        let mut line = Zeroizing::new(String::with_capacity(LINE));
        let (encryption, integrity) = (encryption_names(keys.suite), ike_integrity(keys.suite));
        if encryption.is_none() || integrity.is_none() {
            line.push_str("# ");
        }
        for bytes in [&keys.initiator_spi.0[..], &keys.responder_spi.0, keys.sk_ei, keys.sk_er] {
            push_hexadecimal(&mut line, bytes);
            line.push(',');
        }
        push_quoted(&mut line, encryption.map_or(keys.suite.encryption.name, |names| names.ike));
        for bytes in [keys.sk_ai, keys.sk_ar] {
            line.push(',');
            push_hexadecimal(&mut line, bytes);
        }
        line.push(',');
        push_quoted(&mut line, integrity.unwrap_or("unknown"));
        line.push_str("\n# SK_d, SK_pi, SK_pr:");
        for bytes in [keys.sk_d, keys.sk_pi, keys.sk_pr] {
            line.push(' ');
            push_hexadecimal(&mut line, bytes);
        }
        line.push('\n');
        self.write(&self.ike, &line);
    }

    fn child_sa(&self, pair: &ChildSa) {
        let (local, peer) = (pair.path.local.ip(), pair.path.peer.ip());
        for (source, destination, spi, keys) in
            [(peer, local, pair.inbound_spi, &pair.inbound_keys), (local, peer, pair.outbound_spi, &pair.outbound_keys)]
        {
            self.write(&self.esp, &esp_line(source, destination, spi, pair.suite, keys));
        }
    }
}

fn esp_line(source: IpAddr, destination: IpAddr, spi: u32, suite: Suite, keys: &SaKeys) -> Zeroizing<String> {
    let mut line = Zeroizing::new(String::with_capacity(LINE));
    let (encryption, integrity) = (encryption_names(suite), esp_integrity(suite));
    if encryption.is_none() || integrity.is_none() {
        line.push_str("# ");
    }
    let family = if destination.is_ipv4() { "IPv4" } else { "IPv6" };
    // Writing to a String cannot fail.
    let _ = write!(line, "\"{family}\",\"{source}\",\"{destination}\",\"{spi:#010x}\",");
    push_quoted(&mut line, encryption.map_or(suite.encryption.name, |names| names.esp));
    line.push_str(",\"0x");
    push_hexadecimal(&mut line, keys.encryption_key.as_bytes());
    line.push_str("\",");
    push_quoted(&mut line, integrity.unwrap_or("unknown"));
    line.push_str(",\"");
    if !keys.integrity_key.is_empty() {
        line.push_str("0x");
        push_hexadecimal(&mut line, keys.integrity_key.as_bytes());
    }
    line.push_str("\"\n");
    line
}

/// The digits go straight into the line: a text of their own would be one more copy of the key.
fn push_hexadecimal(line: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or_default();
        line.extend([digit(byte >> 4), digit(byte & 15)]);
    }
}

fn push_quoted(line: &mut String, name: &str) {
    line.extend(["\"", name, "\""]);
}

/// What Wireshark's tables of keys call an algorithm.
struct Wireshark<A: 'static> {
    algorithm: &'static A,
    ike: &'static str,
    esp: &'static str,
}

const fn names<A>(algorithm: &'static A, ike: &'static str, esp: &'static str) -> Wireshark<A> {
    Wireshark { algorithm, ike, esp }
}

static ENCRYPTION: &[Wireshark<EncryptionAlgorithm>] = &[
    names(&encryption::AES128_GCM_16, "AES-GCM-128 with 16 octet ICV [RFC5282]", "AES-GCM with 16 octet ICV [RFC4106]"),
    names(&encryption::AES256_GCM_16, "AES-GCM-256 with 16 octet ICV [RFC5282]", "AES-GCM with 16 octet ICV [RFC4106]"),
    names(&encryption::AES128_CBC, "AES-CBC-128 [RFC3602]", "AES-CBC [RFC3602]"),
    names(&encryption::AES256_CBC, "AES-CBC-256 [RFC3602]", "AES-CBC [RFC3602]"),
];

static INTEGRITY: &[Wireshark<IntegrityAlgorithm>] = &[
    names(&integ::HMAC_SHA1_96, "HMAC_SHA1_96 [RFC2404]", "HMAC-SHA-1-96 [RFC2404]"),
    names(&integ::HMAC_SHA2_256_128, "HMAC_SHA2_256_128 [RFC4868]", "HMAC-SHA-256-128 [RFC4868]"),
    names(&integ::HMAC_SHA2_384_192, "HMAC_SHA2_384_192 [RFC4868]", "HMAC-SHA-384-192 [RFC4868]"),
    names(&integ::HMAC_SHA2_512_256, "HMAC_SHA2_512_256 [RFC4868]", "HMAC-SHA-512-256 [RFC4868]"),
];

/// Wireshark's names for an encryption; `None` if it cannot decrypt it.
fn encryption_names(suite: Suite) -> Option<&'static Wireshark<EncryptionAlgorithm>> {
    ENCRYPTION.iter().find(|row| row.algorithm == suite.encryption)
}

fn ike_integrity(suite: Suite) -> Option<&'static str> {
    let Some(integrity) = suite.integrity else { return Some("NONE [RFC4306]") };
    INTEGRITY.iter().find(|row| row.algorithm == integrity).map(|row| row.ike)
}

fn esp_integrity(suite: Suite) -> Option<&'static str> {
    let Some(integrity) = suite.integrity else { return Some("NULL") };
    INTEGRITY.iter().find(|row| row.algorithm == integrity).map(|row| row.esp)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::MetadataExt;

    use super::*;
    use crate::crypto::Secret;
    use crate::wire::ike::IkeSpi;

    fn suite(encryption: &str, integrity: Option<&str>) -> Suite {
        let integrity = integrity.and_then(integ::by_name);
        Suite::new(encryption::by_name(encryption).unwrap(), integrity).unwrap()
    }

    #[test]
    fn wireshark_s_columns_are_filled_and_only_the_owner_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("keys");
        let log = KeyLogFiles::open(&folder).unwrap();
        log.ike_sa(&IkeKeyMaterial {
            initiator_spi: IkeSpi([1; 8]),
            responder_spi: IkeSpi([0xf2; 8]),
            suite: suite("aes128", Some("sha256")),
            sk_d: &[0],
            sk_ai: &[0xa1, 0x0b],
            sk_ar: &[2],
            sk_ei: &[3],
            sk_er: &[4],
            sk_pi: &[5],
            sk_pr: &[6],
        });
        let text = fs::read_to_string(folder.join("ikev2_decryption_table")).unwrap();
        assert_eq!(
            text,
            "0101010101010101,f2f2f2f2f2f2f2f2,03,04,\"AES-CBC-128 [RFC3602]\",a10b,02,\"HMAC_SHA2_256_128 [RFC4868]\"\n\
             # SK_d, SK_pi, SK_pr: 00 05 06\n"
        );
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(folder.join("esp_sa")).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn all_but_chacha20_is_named_as_wireshark_has_it() {
        for row in encryption::TABLE {
            let named = ENCRYPTION.iter().any(|names| names.algorithm == *row);
            assert_eq!(named, **row != encryption::CHACHA20_POLY1305_16, "{row:?}");
        }
        for row in integ::TABLE {
            assert!(INTEGRITY.iter().any(|names| names.algorithm == *row), "{row:?}");
        }
    }

    #[test]
    fn what_wireshark_does_not_know_is_a_comment() {
        let line = |suite: Suite, integrity: &[u8]| {
            let keys = SaKeys { encryption_key: Secret::from(&[0xab, 1][..]), integrity_key: Secret::from(integrity) };
            let address = |text: &str| text.parse().unwrap();
            esp_line(address("192.0.2.1"), address("192.0.2.2"), 0x1001, suite, &keys).to_string()
        };
        let start = "\"IPv4\",\"192.0.2.1\",\"192.0.2.2\",\"0x00001001\",";
        assert_eq!(
            line(suite("aes256gcm16", None), &[]),
            format!("{start}\"AES-GCM with 16 octet ICV [RFC4106]\",\"0xab01\",\"NULL\",\"\"\n")
        );
        assert_eq!(
            line(suite("aes128", Some("sha1")), &[2]),
            format!("{start}\"AES-CBC [RFC3602]\",\"0xab01\",\"HMAC-SHA-1-96 [RFC2404]\",\"0x02\"\n")
        );
        assert_eq!(
            line(suite("chacha20poly1305", None), &[]),
            format!("# {start}\"chacha20poly1305\",\"0xab01\",\"NULL\",\"\"\n")
        );
    }
}
