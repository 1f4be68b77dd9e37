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

code_points! {
    /// What a message is for (RFC 7296 section 3.1).
    ExchangeType(u8) {
        IKE_SA_INIT = 34, "IKE_SA_INIT";
        IKE_AUTH = 35, "IKE_AUTH";
        CREATE_CHILD_SA = 36, "CREATE_CHILD_SA";
        INFORMATIONAL = 37, "INFORMATIONAL";
        /// RFC 5723.
        IKE_SESSION_RESUME = 38, "IKE_SESSION_RESUME";
        /// RFC 9242.
        IKE_INTERMEDIATE = 43, "IKE_INTERMEDIATE";
        /// RFC 9370.
        IKE_FOLLOWUP_KE = 44, "IKE_FOLLOWUP_KE";
    }
}

code_points! {
    /// The kind of a payload (RFC 7296 section 3.2).
    PayloadType(u8) {
        NONE = 0, "none";
        SECURITY_ASSOCIATION = 33, "SA";
        KEY_EXCHANGE = 34, "KE";
        IDENTIFICATION_INITIATOR = 35, "IDi";
        IDENTIFICATION_RESPONDER = 36, "IDr";
        CERTIFICATE = 37, "CERT";
        CERTIFICATE_REQUEST = 38, "CERTREQ";
        AUTHENTICATION = 39, "AUTH";
        NONCE = 40, "Nonce";
        NOTIFY = 41, "N";
        DELETE = 42, "D";
        VENDOR_ID = 43, "V";
        TRAFFIC_SELECTORS_INITIATOR = 44, "TSi";
        TRAFFIC_SELECTORS_RESPONDER = 45, "TSr";
        ENCRYPTED = 46, "SK";
        CONFIGURATION = 47, "CP";
        EAP = 48, "EAP";
        /// RFC 7383.
        ENCRYPTED_FRAGMENT = 53, "SKF";
    }
}

code_points! {
    /// The protocol that a proposal, notification or deletion concerns (RFC 7296 section 3.3.1).
    ProtocolId(u8) {
        /// No protocol: a notification that concerns no existing SA (RFC 7296 section 3.10).
        NONE = 0, "none";
        IKE = 1, "IKE";
        AH = 2, "AH";
        ESP = 3, "ESP";
    }
}

code_points! {
    /// What a transform is for (RFC 7296 section 3.3.2, RFC 9370).
    TransformType(u8) {
        ENCRYPTION = 1, "encryption";
        PSEUDORANDOM_FUNCTION = 2, "PRF";
        INTEGRITY = 3, "integrity";
        KEY_EXCHANGE = 4, "key exchange";
        /// Extended sequence numbers; "Sequence Numbers" since RFC 9827.
        SEQUENCE_NUMBERS = 5, "sequence numbers";
        ADDITIONAL_KEY_EXCHANGE_1 = 6, "additional key exchange 1";
        ADDITIONAL_KEY_EXCHANGE_2 = 7, "additional key exchange 2";
        ADDITIONAL_KEY_EXCHANGE_3 = 8, "additional key exchange 3";
        ADDITIONAL_KEY_EXCHANGE_4 = 9, "additional key exchange 4";
        ADDITIONAL_KEY_EXCHANGE_5 = 10, "additional key exchange 5";
        ADDITIONAL_KEY_EXCHANGE_6 = 11, "additional key exchange 6";
        ADDITIONAL_KEY_EXCHANGE_7 = 12, "additional key exchange 7";
    }
}

code_points! {
    /// Transform type 1, encryption.
    EncryptionId(u16) {
        TRIPLE_DES = 3, "3DES";
        NULL = 11, "NULL";
        AES_CBC = 12, "AES_CBC";
        AES_CTR = 13, "AES_CTR";
        AES_CCM_8 = 14, "AES_CCM_8";
        AES_CCM_12 = 15, "AES_CCM_12";
        AES_CCM_16 = 16, "AES_CCM_16";
        AES_GCM_8 = 18, "AES_GCM_8";
        AES_GCM_12 = 19, "AES_GCM_12";
        AES_GCM_16 = 20, "AES_GCM_16";
        NULL_AUTH_AES_GMAC = 21, "NULL_AUTH_AES_GMAC";
        CAMELLIA_CBC = 23, "CAMELLIA_CBC";
        CHACHA20_POLY1305 = 28, "CHACHA20_POLY1305";
        AES_CCM_8_IIV = 29, "AES_CCM_8_IIV";
        AES_GCM_16_IIV = 30, "AES_GCM_16_IIV";
        CHACHA20_POLY1305_IIV = 31, "CHACHA20_POLY1305_IIV";
    }
}

code_points! {
    /// Transform type 2, pseudorandom function.
    PrfId(u16) {
        HMAC_MD5 = 1, "HMAC_MD5";
        HMAC_SHA1 = 2, "HMAC_SHA1";
        AES128_XCBC = 4, "AES128_XCBC";
        HMAC_SHA2_256 = 5, "HMAC_SHA2_256";
        HMAC_SHA2_384 = 6, "HMAC_SHA2_384";
        HMAC_SHA2_512 = 7, "HMAC_SHA2_512";
        AES128_CMAC = 8, "AES128_CMAC";
    }
}

code_points! {
    /// Transform type 3, integrity.
    IntegrityId(u16) {
        NONE = 0, "NONE";
        HMAC_MD5_96 = 1, "HMAC_MD5_96";
        HMAC_SHA1_96 = 2, "HMAC_SHA1_96";
        AES_XCBC_96 = 5, "AES_XCBC_96";
        AES_CMAC_96 = 8, "AES_CMAC_96";
        HMAC_SHA2_256_128 = 12, "HMAC_SHA2_256_128";
        HMAC_SHA2_384_192 = 13, "HMAC_SHA2_384_192";
        HMAC_SHA2_512_256 = 14, "HMAC_SHA2_512_256";
    }
}

code_points! {
    /// Transform type 4, key exchange method (formerly Diffie-Hellman group).
    KeyExchangeId(u16) {
        NONE = 0, "NONE";
        MODP_768 = 1, "MODP_768";
        MODP_1024 = 2, "MODP_1024";
        MODP_1536 = 5, "MODP_1536";
        MODP_2048 = 14, "MODP_2048";
        MODP_3072 = 15, "MODP_3072";
        MODP_4096 = 16, "MODP_4096";
        MODP_6144 = 17, "MODP_6144";
        MODP_8192 = 18, "MODP_8192";
        ECP_256 = 19, "ECP_256";
        ECP_384 = 20, "ECP_384";
        ECP_521 = 21, "ECP_521";
        MODP_1024_160 = 22, "MODP_1024_160";
        MODP_2048_224 = 23, "MODP_2048_224";
        MODP_2048_256 = 24, "MODP_2048_256";
        ECP_192 = 25, "ECP_192";
        ECP_224 = 26, "ECP_224";
        BRAINPOOL_P224R1 = 27, "BRAINPOOL_P224R1";
        BRAINPOOL_P256R1 = 28, "BRAINPOOL_P256R1";
        BRAINPOOL_P384R1 = 29, "BRAINPOOL_P384R1";
        BRAINPOOL_P512R1 = 30, "BRAINPOOL_P512R1";
        CURVE_25519 = 31, "CURVE_25519";
        CURVE_448 = 32, "CURVE_448";
        ML_KEM_512 = 35, "ML_KEM_512";
        ML_KEM_768 = 36, "ML_KEM_768";
        ML_KEM_1024 = 37, "ML_KEM_1024";
    }
}

code_points! {
    /// Transform type 5, sequence numbers.
    SequenceNumbersId(u16) {
        /// 32-bit sequence numbers.
        SEQUENTIAL_32 = 0, "32-bit";
        /// 64-bit sequence numbers of which the low 32 bits are sent (ESN).
        PARTIALLY_TRANSMITTED_64 = 1, "64-bit (ESN)";
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
        IPV4_ADDR = 1, "ID_IPV4_ADDR";
        FQDN = 2, "ID_FQDN";
        RFC822_ADDR = 3, "ID_RFC822_ADDR";
        IPV6_ADDR = 5, "ID_IPV6_ADDR";
        DER_ASN1_DN = 9, "ID_DER_ASN1_DN";
        DER_ASN1_GN = 10, "ID_DER_ASN1_GN";
        KEY_ID = 11, "ID_KEY_ID";
        /// RFC 7619.
        NULL = 13, "ID_NULL";
    }
}

code_points! {
    /// How an AUTH payload was made (RFC 7296 section 3.8).
    AuthMethod(u8) {
        RSA_DIGITAL_SIGNATURE = 1, "RSA digital signature";
        SHARED_KEY = 2, "shared key";
        DSS_DIGITAL_SIGNATURE = 3, "DSS digital signature";
        /// RFC 4754.
        ECDSA_256 = 9, "ECDSA with SHA-256 on P-256";
        ECDSA_384 = 10, "ECDSA with SHA-384 on P-384";
        ECDSA_512 = 11, "ECDSA with SHA-512 on P-521";
        /// RFC 7619.
        NULL = 13, "NULL";
        /// RFC 7427.
        DIGITAL_SIGNATURE = 14, "digital signature";
    }
}

code_points! {
    /// The encoding of a certificate or certificate request (RFC 7296 section 3.6).
    CertificateEncoding(u8) {
        PKCS7_X509 = 1, "PKCS #7 wrapped X.509";
        PGP = 2, "PGP";
        DNS_SIGNED_KEY = 3, "DNS signed key";
        X509_SIGNATURE = 4, "X.509 signature";
        KERBEROS_TOKENS = 6, "Kerberos tokens";
        CRL = 7, "CRL";
        ARL = 8, "ARL";
        SPKI = 9, "SPKI";
        X509_ATTRIBUTE = 10, "X.509 attribute";
        RAW_RSA_KEY = 11, "raw RSA key";
        HASH_AND_URL_X509 = 12, "hash and URL of X.509";
        HASH_AND_URL_BUNDLE = 13, "hash and URL of X.509 bundle";
        OCSP_CONTENT = 14, "OCSP content";
        RAW_PUBLIC_KEY = 15, "raw public key";
    }
}

code_points! {
    /// The kind of a traffic selector (RFC 7296 section 3.13.1).
    TsType(u8) {
        IPV4_ADDR_RANGE = 7, "TS_IPV4_ADDR_RANGE";
        IPV6_ADDR_RANGE = 8, "TS_IPV6_ADDR_RANGE";
        FC_ADDR_RANGE = 9, "TS_FC_ADDR_RANGE";
        SECLABEL = 10, "TS_SECLABEL";
    }
}

code_points! {
    /// The kind of a configuration payload (RFC 7296 section 3.15).
    ConfigurationType(u8) {
        REQUEST = 1, "CFG_REQUEST";
        REPLY = 2, "CFG_REPLY";
        SET = 3, "CFG_SET";
        ACK = 4, "CFG_ACK";
    }
}

code_points! {
    /// What a notification says (RFC 7296 section 3.10.1). Below 16384: an error; from there on: a status.
    NotifyType(u16) {
        UNSUPPORTED_CRITICAL_PAYLOAD = 1, "UNSUPPORTED_CRITICAL_PAYLOAD";
        INVALID_IKE_SPI = 4, "INVALID_IKE_SPI";
        INVALID_MAJOR_VERSION = 5, "INVALID_MAJOR_VERSION";
        INVALID_SYNTAX = 7, "INVALID_SYNTAX";
        INVALID_MESSAGE_ID = 9, "INVALID_MESSAGE_ID";
        INVALID_SPI = 11, "INVALID_SPI";
        NO_PROPOSAL_CHOSEN = 14, "NO_PROPOSAL_CHOSEN";
        INVALID_KE_PAYLOAD = 17, "INVALID_KE_PAYLOAD";
        AUTHENTICATION_FAILED = 24, "AUTHENTICATION_FAILED";
        SINGLE_PAIR_REQUIRED = 34, "SINGLE_PAIR_REQUIRED";
        NO_ADDITIONAL_SAS = 35, "NO_ADDITIONAL_SAS";
        INTERNAL_ADDRESS_FAILURE = 36, "INTERNAL_ADDRESS_FAILURE";
        FAILED_CP_REQUIRED = 37, "FAILED_CP_REQUIRED";
        TS_UNACCEPTABLE = 38, "TS_UNACCEPTABLE";
        INVALID_SELECTORS = 39, "INVALID_SELECTORS";
        UNACCEPTABLE_ADDRESSES = 40, "UNACCEPTABLE_ADDRESSES";
        UNEXPECTED_NAT_DETECTED = 41, "UNEXPECTED_NAT_DETECTED";
        USE_ASSIGNED_HOA = 42, "USE_ASSIGNED_HoA";
        TEMPORARY_FAILURE = 43, "TEMPORARY_FAILURE";
        CHILD_SA_NOT_FOUND = 44, "CHILD_SA_NOT_FOUND";
        INVALID_GROUP_ID = 45, "INVALID_GROUP_ID";
        AUTHORIZATION_FAILED = 46, "AUTHORIZATION_FAILED";
        STATE_NOT_FOUND = 47, "STATE_NOT_FOUND";
        TS_MAX_QUEUE = 48, "TS_MAX_QUEUE";
        INITIAL_CONTACT = 16384, "INITIAL_CONTACT";
        SET_WINDOW_SIZE = 16385, "SET_WINDOW_SIZE";
        ADDITIONAL_TS_POSSIBLE = 16386, "ADDITIONAL_TS_POSSIBLE";
        IPCOMP_SUPPORTED = 16387, "IPCOMP_SUPPORTED";
        NAT_DETECTION_SOURCE_IP = 16388, "NAT_DETECTION_SOURCE_IP";
        NAT_DETECTION_DESTINATION_IP = 16389, "NAT_DETECTION_DESTINATION_IP";
        COOKIE = 16390, "COOKIE";
        USE_TRANSPORT_MODE = 16391, "USE_TRANSPORT_MODE";
        HTTP_CERT_LOOKUP_SUPPORTED = 16392, "HTTP_CERT_LOOKUP_SUPPORTED";
        REKEY_SA = 16393, "REKEY_SA";
        ESP_TFC_PADDING_NOT_SUPPORTED = 16394, "ESP_TFC_PADDING_NOT_SUPPORTED";
        NON_FIRST_FRAGMENTS_ALSO = 16395, "NON_FIRST_FRAGMENTS_ALSO";
        MOBIKE_SUPPORTED = 16396, "MOBIKE_SUPPORTED";
        ADDITIONAL_IP4_ADDRESS = 16397, "ADDITIONAL_IP4_ADDRESS";
        ADDITIONAL_IP6_ADDRESS = 16398, "ADDITIONAL_IP6_ADDRESS";
        NO_ADDITIONAL_ADDRESSES = 16399, "NO_ADDITIONAL_ADDRESSES";
        UPDATE_SA_ADDRESSES = 16400, "UPDATE_SA_ADDRESSES";
        COOKIE2 = 16401, "COOKIE2";
        NO_NATS_ALLOWED = 16402, "NO_NATS_ALLOWED";
        AUTH_LIFETIME = 16403, "AUTH_LIFETIME";
        MULTIPLE_AUTH_SUPPORTED = 16404, "MULTIPLE_AUTH_SUPPORTED";
        ANOTHER_AUTH_FOLLOWS = 16405, "ANOTHER_AUTH_FOLLOWS";
        REDIRECT_SUPPORTED = 16406, "REDIRECT_SUPPORTED";
        REDIRECT = 16407, "REDIRECT";
        REDIRECTED_FROM = 16408, "REDIRECTED_FROM";
        TICKET_LT_OPAQUE = 16409, "TICKET_LT_OPAQUE";
        TICKET_REQUEST = 16410, "TICKET_REQUEST";
        TICKET_ACK = 16411, "TICKET_ACK";
        TICKET_NACK = 16412, "TICKET_NACK";
        TICKET_OPAQUE = 16413, "TICKET_OPAQUE";
        LINK_ID = 16414, "LINK_ID";
        USE_WESP_MODE = 16415, "USE_WESP_MODE";
        ROHC_SUPPORTED = 16416, "ROHC_SUPPORTED";
        EAP_ONLY_AUTHENTICATION = 16417, "EAP_ONLY_AUTHENTICATION";
        CHILDLESS_IKEV2_SUPPORTED = 16418, "CHILDLESS_IKEV2_SUPPORTED";
        QUICK_CRASH_DETECTION = 16419, "QUICK_CRASH_DETECTION";
        IKEV2_MESSAGE_ID_SYNC_SUPPORTED = 16420, "IKEV2_MESSAGE_ID_SYNC_SUPPORTED";
        IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED = 16421, "IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED";
        IKEV2_MESSAGE_ID_SYNC = 16422, "IKEV2_MESSAGE_ID_SYNC";
        IPSEC_REPLAY_COUNTER_SYNC = 16423, "IPSEC_REPLAY_COUNTER_SYNC";
        IKEV2_FRAGMENTATION_SUPPORTED = 16430, "IKEV2_FRAGMENTATION_SUPPORTED";
        SIGNATURE_HASH_ALGORITHMS = 16431, "SIGNATURE_HASH_ALGORITHMS";
        PUZZLE = 16434, "PUZZLE";
        USE_PPK = 16435, "USE_PPK";
        PPK_IDENTITY = 16436, "PPK_IDENTITY";
        NO_PPK_AUTH = 16437, "NO_PPK_AUTH";
        INTERMEDIATE_EXCHANGE_SUPPORTED = 16438, "INTERMEDIATE_EXCHANGE_SUPPORTED";
        IP4_ALLOWED = 16439, "IP4_ALLOWED";
        IP6_ALLOWED = 16440, "IP6_ALLOWED";
        ADDITIONAL_KEY_EXCHANGE = 16441, "ADDITIONAL_KEY_EXCHANGE";
        USE_AGGFRAG = 16442, "USE_AGGFRAG";
        SUPPORTED_AUTH_METHODS = 16443, "SUPPORTED_AUTH_METHODS";
        SA_RESOURCE_INFO = 16444, "SA_RESOURCE_INFO";
        // Of the types for private use: fills up a probe of the path MTU, and means nothing.
        PATH_PROBE = 61_453, "PATH_PROBE";
    }
}

impl NotifyType {
    /// Types below this are errors, the others are statuses (RFC 7296 section 3.10.1).
    const FIRST_STATUS: u16 = 16384;

    /// Whether the notification reports an error, which makes the request that it answers a failed one.
    pub fn is_error(self) -> bool {
        self.0 < Self::FIRST_STATUS
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
    fn errors_end_where_statuses_begin() {
        assert!(NotifyType::CHILD_SA_NOT_FOUND.is_error());
        assert!(NotifyType(16_383).is_error());
        assert!(!NotifyType::INITIAL_CONTACT.is_error());
    }

    #[test]
    fn every_known_value_has_a_name() {
        assert!(NotifyType::KNOWN.iter().all(|kind| kind.name().is_some()));
        assert!(PayloadType::KNOWN.iter().all(|kind| kind.name().is_some()));
    }
}
