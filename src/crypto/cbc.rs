//! AES-CBC (RFC 3602) in place, with the key schedule computed once.

use ::aes::cipher::{
    Array, BlockCipherDecrypt, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit,
    typenum::U16,
};
use ::aes::{Aes128Dec, Aes128Enc, Aes256Dec, Aes256Enc};
use ::cbc::{Decryptor, Encryptor};

/// Bytes of a block and of the initialization vector.
pub(super) const BLOCK_LEN: usize = 16;

/// A key for encrypting.
pub(super) enum EncryptingKey {
    Aes128(Aes128Enc),
    Aes256(Aes256Enc),
}

/// A key for decrypting.
pub(super) enum DecryptingKey {
    Aes128(Aes128Dec),
    Aes256(Aes256Dec),
}

impl EncryptingKey {
    /// `None` when `key` has neither 16 nor 32 bytes.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128Enc::new_from_slice(key).ok().map(Self::Aes128),
            32 => Aes256Enc::new_from_slice(key).ok().map(Self::Aes256),
            _ => None,
        }
    }

    /// `None`, and nothing done, when the IV is not a block or the body not whole blocks.
    pub(super) fn encrypt(&self, iv: &[u8], body: &mut [u8]) -> Option<()> {
        match self {
            Self::Aes128(key) => encrypt(key, iv, body),
            Self::Aes256(key) => encrypt(key, iv, body),
        }
    }

    /// One block by itself, which makes an unpredictable IV of a counter.
    pub(super) fn encrypt_block(&self, block: &mut [u8; BLOCK_LEN]) {
        let block = block.into();
        match self {
            Self::Aes128(key) => key.encrypt_block(block),
            Self::Aes256(key) => key.encrypt_block(block),
        }
    }
}

impl DecryptingKey {
    /// `None` when `key` has neither 16 nor 32 bytes.
    pub(super) fn new(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Aes128Dec::new_from_slice(key).ok().map(Self::Aes128),
            32 => Aes256Dec::new_from_slice(key).ok().map(Self::Aes256),
            _ => None,
        }
    }

    /// `None`, and nothing done, when the IV is not a block or the body not whole blocks.
    pub(super) fn decrypt(&self, iv: &[u8], body: &mut [u8]) -> Option<()> {
        match self {
            Self::Aes128(key) => decrypt(key, iv, body),
            Self::Aes256(key) => decrypt(key, iv, body),
        }
    }
}

type Block = Array<u8, U16>;

fn whole_blocks(body: &mut [u8]) -> Option<&mut [Block]> {
    let (blocks, rest) = Block::slice_as_chunks_mut(body);
    rest.is_empty().then_some(blocks)
}

fn encrypt<C: BlockCipherEncrypt<BlockSize = U16>>(key: &C, iv: &[u8], body: &mut [u8]) -> Option<()> {
    let blocks = whole_blocks(body)?;
    Encryptor::inner_iv_init(key, iv.try_into().ok()?).encrypt_blocks(blocks);
    Some(())
}

fn decrypt<C: BlockCipherDecrypt<BlockSize = U16>>(key: &C, iv: &[u8], body: &mut [u8]) -> Option<()> {
    let blocks = whole_blocks(body)?;
    Decryptor::inner_iv_init(key, iv.try_into().ok()?).decrypt_blocks(blocks);
    Some(())
}
