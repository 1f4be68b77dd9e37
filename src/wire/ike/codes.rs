//! The code points of IKEv2 as open newtypes: unknown values survive, known ones have a name for `Debug` and `Display`.
//!
//! Source of the numbers: the IANA registry "Internet Key Exchange Version 2 (IKEv2) Parameters".

/// Defines an open newtype over an integer with named constants.
macro_rules! code_points {
    ($(#[$about:meta])* $name:ident($integer:ty) { $($(#[$doc:meta])* $constant:ident = $value:expr, $label:literal;)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $integer);

        impl $name {
            $($(#[$doc])* pub const $constant: Self = Self($value);)*

            /// Every value that has a name here.
            pub const KNOWN: &'static [Self] = &[$(Self::$constant),*];

            /// The registered name, if this value is one that has a name here.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($label),)*
                    _ => None,
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}", self.0),
                }
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, concat!(stringify!($name), "({})"), self.0),
                }
            }
        }
    };
}

mod algorithm;
mod notification;

pub use algorithm::{EncryptionId, IntegrityId, KeyExchangeId, PrfId, SequenceNumbersId};
pub use notification::NotifyType;

code_points! {
    /// What a message is for (RFC 7296 section 3.1).
    ExchangeType(u8) {
        /// Agrees on algorithms and exchanges keys and nonces, in the clear (RFC 7296 section 1.2).
        IKE_SA_INIT = 34, "IKE_SA_INIT";
        /// Authenticates both ends and makes the first Child SA (RFC 7296 section 1.2).
        IKE_AUTH = 35, "IKE_AUTH";
        /// Makes another Child SA, or rekeys a Child SA or the IKE SA (RFC 7296 section 1.3).
        CREATE_CHILD_SA = 36, "CREATE_CHILD_SA";
        /// Notifies, deletes, or asks for a sign of life (RFC 7296 section 1.4).
        INFORMATIONAL = 37, "INFORMATIONAL";
        /// Makes an IKE SA out of the ticket of a former one, in place of IKE_SA_INIT (RFC 5723).
        IKE_SESSION_RESUME = 38, "IKE_SESSION_RESUME";
        /// Carries what is too large for IKE_SA_INIT, encrypted, before IKE_AUTH (RFC 9242).
        IKE_INTERMEDIATE = 43, "IKE_INTERMEDIATE";
        /// Carries a further key exchange after CREATE_CHILD_SA (RFC 9370).
        IKE_FOLLOWUP_KE = 44, "IKE_FOLLOWUP_KE";
    }
}

code_points! {
    /// The kind of a payload (RFC 7296 section 3.2).
    PayloadType(u8) {
        /// No payload follows: the end of a chain (RFC 7296 section 3.2).
        NONE = 0, "none";
        /// Security Association: proposals of algorithms (RFC 7296 section 3.3).
        SECURITY_ASSOCIATION = 33, "SA";
        /// Key Exchange: a public value (RFC 7296 section 3.4).
        KEY_EXCHANGE = 34, "KE";
        /// Identification of the initiator (RFC 7296 section 3.5).
        IDENTIFICATION_INITIATOR = 35, "IDi";
        /// Identification of the responder (RFC 7296 section 3.5).
        IDENTIFICATION_RESPONDER = 36, "IDr";
        /// Certificate (RFC 7296 section 3.6).
        CERTIFICATE = 37, "CERT";
        /// Certificate Request: the authorities that the sender trusts (RFC 7296 section 3.7).
        CERTIFICATE_REQUEST = 38, "CERTREQ";
        /// Authentication: the proof of the sender's identity (RFC 7296 section 3.8).
        AUTHENTICATION = 39, "AUTH";
        /// Nonce: random bytes that make the keys fresh (RFC 7296 section 3.9).
        NONCE = 40, "Nonce";
        /// Notify: an error or a status (RFC 7296 section 3.10).
        NOTIFY = 41, "N";
        /// Delete: the sender's SPIs of SAs that are closed (RFC 7296 section 3.11).
        DELETE = 42, "D";
        /// Vendor ID: a mark of the implementation (RFC 7296 section 3.12).
        VENDOR_ID = 43, "V";
        /// Traffic Selectors of the initiator's side (RFC 7296 section 3.13).
        TRAFFIC_SELECTORS_INITIATOR = 44, "TSi";
        /// Traffic Selectors of the responder's side (RFC 7296 section 3.13).
        TRAFFIC_SELECTORS_RESPONDER = 45, "TSr";
        /// Encrypted and Authenticated: the last payload of a message, with others inside (RFC 7296 section 3.14).
        ENCRYPTED = 46, "SK";
        /// Configuration: internal addresses and other settings (RFC 7296 section 3.15).
        CONFIGURATION = 47, "CP";
        /// Extensible Authentication: one EAP message (RFC 7296 section 3.16).
        EAP = 48, "EAP";
        /// Encrypted and Authenticated Fragment: a part of a message that was too large (RFC 7383 section 2.5).
        ENCRYPTED_FRAGMENT = 53, "SKF";
    }
}

code_points! {
    /// The protocol that a proposal, notification or deletion concerns (RFC 7296 section 3.3.1).
    ProtocolId(u8) {
        /// No protocol: a notification that concerns no existing SA (RFC 7296 section 3.10).
        NONE = 0, "none";
        /// The IKE SA itself (RFC 7296 section 3.3.1).
        IKE = 1, "IKE";
        /// Authentication Header (RFC 4302).
        AH = 2, "AH";
        /// Encapsulating Security Payload (RFC 4303).
        ESP = 3, "ESP";
    }
}

code_points! {
    /// What a transform is for (RFC 7296 section 3.3.2, RFC 9370).
    TransformType(u8) {
        /// Encryption, for the IKE SA and ESP: the id is an [`EncryptionId`].
        ENCRYPTION = 1, "encryption";
        /// Pseudorandom function, for the IKE SA: the id is a [`PrfId`].
        PSEUDORANDOM_FUNCTION = 2, "PRF";
        /// Integrity, unless encryption is an AEAD: the id is an [`IntegrityId`].
        INTEGRITY = 3, "integrity";
        /// Key exchange method, for ESP only with PFS: the id is a [`KeyExchangeId`].
        KEY_EXCHANGE = 4, "key exchange";
        /// Sequence numbers of ESP and AH, extended or not: the id is a [`SequenceNumbersId`] (renamed by RFC 9827).
        SEQUENCE_NUMBERS = 5, "sequence numbers";
        /// First further key exchange: the id is a [`KeyExchangeId`] (RFC 9370).
        ADDITIONAL_KEY_EXCHANGE_1 = 6, "additional key exchange 1";
        /// Second further key exchange: the id is a [`KeyExchangeId`] (RFC 9370).
        ADDITIONAL_KEY_EXCHANGE_2 = 7, "additional key exchange 2";
        /// Third further key exchange: the id is a [`KeyExchangeId`] (RFC 9370).
        ADDITIONAL_KEY_EXCHANGE_3 = 8, "additional key exchange 3";
        /// Fourth further key exchange: the id is a [`KeyExchangeId`] (RFC 9370).
        ADDITIONAL_KEY_EXCHANGE_4 = 9, "additional key exchange 4";
        /// Fifth further key exchange: the id is a [`KeyExchangeId`] (RFC 9370).
        ADDITIONAL_KEY_EXCHANGE_5 = 10, "additional key exchange 5";
        /// Sixth further key exchange: the id is a [`KeyExchangeId`] (RFC 9370).
        ADDITIONAL_KEY_EXCHANGE_6 = 11, "additional key exchange 6";
        /// Seventh further key exchange: the id is a [`KeyExchangeId`] (RFC 9370).
        ADDITIONAL_KEY_EXCHANGE_7 = 12, "additional key exchange 7";
    }
}

code_points! {
    /// Transform attributes (RFC 7296 section 3.3.5).
    TransformAttributeType(u16) {
        /// Key length in bits; always in the short (type/value) form.
        KEY_LENGTH = 14, "key length";
    }
}

code_points! {
    /// The form of an identity (RFC 7296 section 3.5).
    IdType(u8) {
        /// An IPv4 address: 4 bytes.
        IPV4_ADDR = 1, "ID_IPV4_ADDR";
        /// A domain name in ASCII, without a final zero byte.
        FQDN = 2, "ID_FQDN";
        /// An e-mail address in ASCII, without a final zero byte.
        RFC822_ADDR = 3, "ID_RFC822_ADDR";
        /// An IPv6 address: 16 bytes.
        IPV6_ADDR = 5, "ID_IPV6_ADDR";
        /// A distinguished name of X.500, in DER.
        DER_ASN1_DN = 9, "ID_DER_ASN1_DN";
        /// A `GeneralName` of X.509, in DER.
        DER_ASN1_GN = 10, "ID_DER_ASN1_GN";
        /// Bytes that only the two ends understand.
        KEY_ID = 11, "ID_KEY_ID";
        /// No identity: the end stays anonymous (RFC 7619).
        NULL = 13, "ID_NULL";
    }
}

code_points! {
    /// How an AUTH payload was made (RFC 7296 section 3.8).
    AuthMethod(u8) {
        /// RSASSA-PKCS1-v1_5 with the key of a certificate or a raw key (RFC 7296 section 3.8).
        RSA_DIGITAL_SIGNATURE = 1, "RSA digital signature";
        /// A MAC with a key made of the pre-shared key (RFC 7296 section 2.15).
        SHARED_KEY = 2, "shared key";
        /// DSS over SHA-1 (RFC 7296 section 3.8).
        DSS_DIGITAL_SIGNATURE = 3, "DSS digital signature";
        /// ECDSA with SHA-256 on P-256 (RFC 4754).
        ECDSA_256 = 9, "ECDSA with SHA-256 on P-256";
        /// ECDSA with SHA-384 on P-384 (RFC 4754).
        ECDSA_384 = 10, "ECDSA with SHA-384 on P-384";
        /// ECDSA with SHA-512 on P-521 (RFC 4754).
        ECDSA_512 = 11, "ECDSA with SHA-512 on P-521";
        /// A MAC with a key that everybody could know: the sender is not authenticated (RFC 7619).
        NULL = 13, "NULL";
        /// A signature that names its algorithm and hash itself (RFC 7427).
        DIGITAL_SIGNATURE = 14, "digital signature";
    }
}

code_points! {
    /// The encoding of a certificate or certificate request (RFC 7296 section 3.6).
    CertificateEncoding(u8) {
        /// X.509 certificates wrapped in PKCS #7.
        PKCS7_X509 = 1, "PKCS #7 wrapped X.509";
        /// A PGP certificate.
        PGP = 2, "PGP";
        /// A key that DNS signed.
        DNS_SIGNED_KEY = 3, "DNS signed key";
        /// One X.509 certificate in DER, for signatures.
        X509_SIGNATURE = 4, "X.509 signature";
        /// Kerberos tokens.
        KERBEROS_TOKENS = 6, "Kerberos tokens";
        /// A certificate revocation list of X.509, in DER.
        CRL = 7, "CRL";
        /// An authority revocation list.
        ARL = 8, "ARL";
        /// An SPKI certificate.
        SPKI = 9, "SPKI";
        /// An attribute certificate of X.509.
        X509_ATTRIBUTE = 10, "X.509 attribute";
        /// An RSA public key alone, in PKCS #1; new implementations send [`Self::RAW_PUBLIC_KEY`] (RFC 7670).
        RAW_RSA_KEY = 11, "raw RSA key";
        /// The SHA-1 hash of an X.509 certificate, and the URL that it is fetched from.
        HASH_AND_URL_X509 = 12, "hash and URL of X.509";
        /// The SHA-1 hash of a bundle of X.509 certificates, and the URL that it is fetched from.
        HASH_AND_URL_BUNDLE = 13, "hash and URL of X.509 bundle";
        /// An OCSP response, or in a request the responders that the sender trusts (RFC 4806).
        OCSP_CONTENT = 14, "OCSP content";
        /// A `SubjectPublicKeyInfo` alone, in DER (RFC 7670).
        RAW_PUBLIC_KEY = 15, "raw public key";
    }
}

code_points! {
    /// The kind of a traffic selector (RFC 7296 section 3.13.1).
    TsType(u8) {
        /// A range of IPv4 addresses, with ports and protocol.
        IPV4_ADDR_RANGE = 7, "TS_IPV4_ADDR_RANGE";
        /// A range of IPv6 addresses, with ports and protocol.
        IPV6_ADDR_RANGE = 8, "TS_IPV6_ADDR_RANGE";
        /// A range of Fibre Channel addresses (RFC 4595).
        FC_ADDR_RANGE = 9, "TS_FC_ADDR_RANGE";
        /// A security label, beside selectors of addresses (RFC 9478).
        SECLABEL = 10, "TS_SECLABEL";
    }
}

code_points! {
    /// The kind of a configuration payload (RFC 7296 section 3.15).
    ConfigurationType(u8) {
        /// The sender asks for settings.
        REQUEST = 1, "CFG_REQUEST";
        /// The answer to a request: settings that are granted.
        REPLY = 2, "CFG_REPLY";
        /// The sender wants the other end to take settings.
        SET = 3, "CFG_SET";
        /// The answer to a set: the settings that were taken.
        ACK = 4, "CFG_ACK";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_values_survive_and_say_their_number() {
        let unknown = NotifyType(40_001);
        assert_eq!(unknown.name(), None);
        assert_eq!(unknown.to_string(), "40001");
        assert_eq!(format!("{unknown:?}"), "NotifyType(40001)");
        assert_eq!(format!("{:?}", NotifyType::COOKIE), "COOKIE");
    }

    #[test]
    fn every_known_value_has_a_name() {
        assert!(NotifyType::KNOWN.iter().all(|kind| kind.name().is_some()));
        assert!(PayloadType::KNOWN.iter().all(|kind| kind.name().is_some()));
    }
}
