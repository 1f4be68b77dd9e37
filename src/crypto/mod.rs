//! Algorithms as static tables; the only importer of cryptographic primitives.
