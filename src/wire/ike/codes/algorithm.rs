//! The code points of algorithms: the ids of the transforms in a proposal (RFC 7296 section 3.3.2).

code_points! {
    /// Transform type 1, encryption.
    EncryptionId(u16) {
        /// Triple DES in CBC mode, 168 key bits (RFC 2451).
        TRIPLE_DES = 3, "3DES";
        /// No encryption, for ESP only (RFC 2410).
        NULL = 11, "NULL";
        /// AES in CBC mode; the key length is an attribute (RFC 3602).
        AES_CBC = 12, "AES_CBC";
        /// AES in counter mode; the key length is an attribute (RFC 3686).
        AES_CTR = 13, "AES_CTR";
        /// AES-CCM with an ICV of 8 bytes (RFC 4309).
        AES_CCM_8 = 14, "AES_CCM_8";
        /// AES-CCM with an ICV of 12 bytes (RFC 4309).
        AES_CCM_12 = 15, "AES_CCM_12";
        /// AES-CCM with an ICV of 16 bytes (RFC 4309).
        AES_CCM_16 = 16, "AES_CCM_16";
        /// AES-GCM with an ICV of 8 bytes (RFC 4106).
        AES_GCM_8 = 18, "AES_GCM_8";
        /// AES-GCM with an ICV of 12 bytes (RFC 4106).
        AES_GCM_12 = 19, "AES_GCM_12";
        /// AES-GCM with an ICV of 16 bytes (RFC 4106).
        AES_GCM_16 = 20, "AES_GCM_16";
        /// No encryption, integrity by AES-GMAC, for ESP only (RFC 4543).
        NULL_AUTH_AES_GMAC = 21, "NULL_AUTH_AES_GMAC";
        /// Camellia in CBC mode; the key length is an attribute (RFC 5529).
        CAMELLIA_CBC = 23, "CAMELLIA_CBC";
        /// ChaCha20-Poly1305, an AEAD with keys of 256 bits (RFC 7634).
        CHACHA20_POLY1305 = 28, "CHACHA20_POLY1305";
        /// AES-CCM with an ICV of 8 bytes and the sequence number as IV, for ESP only (RFC 8750).
        AES_CCM_8_IIV = 29, "AES_CCM_8_IIV";
        /// AES-GCM with an ICV of 16 bytes and the sequence number as IV, for ESP only (RFC 8750).
        AES_GCM_16_IIV = 30, "AES_GCM_16_IIV";
        /// ChaCha20-Poly1305 with the sequence number as IV, for ESP only (RFC 8750).
        CHACHA20_POLY1305_IIV = 31, "CHACHA20_POLY1305_IIV";
    }
}

code_points! {
    /// Transform type 2, pseudorandom function.
    PrfId(u16) {
        /// HMAC with MD5, 16 bytes of output (RFC 2104).
        HMAC_MD5 = 1, "HMAC_MD5";
        /// HMAC with SHA-1, 20 bytes of output (RFC 2104).
        HMAC_SHA1 = 2, "HMAC_SHA1";
        /// AES-XCBC-PRF-128, 16 bytes of output (RFC 4434).
        AES128_XCBC = 4, "AES128_XCBC";
        /// HMAC with SHA-256, 32 bytes of output (RFC 4868).
        HMAC_SHA2_256 = 5, "HMAC_SHA2_256";
        /// HMAC with SHA-384, 48 bytes of output (RFC 4868).
        HMAC_SHA2_384 = 6, "HMAC_SHA2_384";
        /// HMAC with SHA-512, 64 bytes of output (RFC 4868).
        HMAC_SHA2_512 = 7, "HMAC_SHA2_512";
        /// AES-CMAC-PRF-128, 16 bytes of output (RFC 4615).
        AES128_CMAC = 8, "AES128_CMAC";
    }
}

code_points! {
    /// Transform type 3, integrity.
    IntegrityId(u16) {
        /// No integrity algorithm, because the encryption algorithm is an AEAD (RFC 5282 section 8).
        NONE = 0, "NONE";
        /// HMAC with MD5, truncated to 12 bytes (RFC 2403).
        HMAC_MD5_96 = 1, "HMAC_MD5_96";
        /// HMAC with SHA-1, truncated to 12 bytes (RFC 2404).
        HMAC_SHA1_96 = 2, "HMAC_SHA1_96";
        /// AES-XCBC-MAC, truncated to 12 bytes (RFC 3566).
        AES_XCBC_96 = 5, "AES_XCBC_96";
        /// AES-CMAC, truncated to 12 bytes (RFC 4494).
        AES_CMAC_96 = 8, "AES_CMAC_96";
        /// HMAC with SHA-256, truncated to 16 bytes (RFC 4868).
        HMAC_SHA2_256_128 = 12, "HMAC_SHA2_256_128";
        /// HMAC with SHA-384, truncated to 24 bytes (RFC 4868).
        HMAC_SHA2_384_192 = 13, "HMAC_SHA2_384_192";
        /// HMAC with SHA-512, truncated to 32 bytes (RFC 4868).
        HMAC_SHA2_512_256 = 14, "HMAC_SHA2_512_256";
    }
}

code_points! {
    /// Transform type 4, key exchange method (formerly Diffie-Hellman group).
    KeyExchangeId(u16) {
        /// No key exchange, as in a proposal of ESP without PFS (RFC 7296 section 3.3.2).
        NONE = 0, "NONE";
        /// Group 1: Diffie-Hellman modulo a prime of 768 bits (RFC 7296 appendix B.1).
        MODP_768 = 1, "MODP_768";
        /// Group 2: Diffie-Hellman modulo a prime of 1024 bits (RFC 7296 appendix B.2).
        MODP_1024 = 2, "MODP_1024";
        /// Group 5: Diffie-Hellman modulo a prime of 1536 bits (RFC 3526).
        MODP_1536 = 5, "MODP_1536";
        /// Group 14: Diffie-Hellman modulo a prime of 2048 bits (RFC 3526).
        MODP_2048 = 14, "MODP_2048";
        /// Group 15: Diffie-Hellman modulo a prime of 3072 bits (RFC 3526).
        MODP_3072 = 15, "MODP_3072";
        /// Group 16: Diffie-Hellman modulo a prime of 4096 bits (RFC 3526).
        MODP_4096 = 16, "MODP_4096";
        /// Group 17: Diffie-Hellman modulo a prime of 6144 bits (RFC 3526).
        MODP_6144 = 17, "MODP_6144";
        /// Group 18: Diffie-Hellman modulo a prime of 8192 bits (RFC 3526).
        MODP_8192 = 18, "MODP_8192";
        /// Group 19: elliptic curve P-256 (RFC 5903).
        ECP_256 = 19, "ECP_256";
        /// Group 20: elliptic curve P-384 (RFC 5903).
        ECP_384 = 20, "ECP_384";
        /// Group 21: elliptic curve P-521 (RFC 5903).
        ECP_521 = 21, "ECP_521";
        /// Group 22: a prime of 1024 bits with a subgroup of 160 bits (RFC 5114).
        MODP_1024_160 = 22, "MODP_1024_160";
        /// Group 23: a prime of 2048 bits with a subgroup of 224 bits (RFC 5114).
        MODP_2048_224 = 23, "MODP_2048_224";
        /// Group 24: a prime of 2048 bits with a subgroup of 256 bits (RFC 5114).
        MODP_2048_256 = 24, "MODP_2048_256";
        /// Group 25: elliptic curve P-192 (RFC 5114).
        ECP_192 = 25, "ECP_192";
        /// Group 26: elliptic curve P-224 (RFC 5114).
        ECP_224 = 26, "ECP_224";
        /// Group 27: elliptic curve brainpoolP224r1 (RFC 6954).
        BRAINPOOL_P224R1 = 27, "BRAINPOOL_P224R1";
        /// Group 28: elliptic curve brainpoolP256r1 (RFC 6954).
        BRAINPOOL_P256R1 = 28, "BRAINPOOL_P256R1";
        /// Group 29: elliptic curve brainpoolP384r1 (RFC 6954).
        BRAINPOOL_P384R1 = 29, "BRAINPOOL_P384R1";
        /// Group 30: elliptic curve brainpoolP512r1 (RFC 6954).
        BRAINPOOL_P512R1 = 30, "BRAINPOOL_P512R1";
        /// Group 31: X25519 on Curve25519 (RFC 8031).
        CURVE_25519 = 31, "CURVE_25519";
        /// Group 32: X448 on Curve448 (RFC 8031).
        CURVE_448 = 32, "CURVE_448";
        /// Method 35: ML-KEM-512, a key encapsulation (FIPS 203).
        ML_KEM_512 = 35, "ML_KEM_512";
        /// Method 36: ML-KEM-768, a key encapsulation (FIPS 203).
        ML_KEM_768 = 36, "ML_KEM_768";
        /// Method 37: ML-KEM-1024, a key encapsulation (FIPS 203).
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
