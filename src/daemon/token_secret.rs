//! The secret that gatewayd makes its tokens of quick crash detection with (RFC 6290 5.1): the same after a restart, so
//! that a peer is given back the token that it got before.

use std::path::Path;

use zeroize::Zeroizing;

use crate::crypto::{Entropy, Secret, SystemEntropy};
use crate::io::private_file;

/// Name of the file in the state directory.
const FILE: &str = "crash-detection.key";
/// Bytes of the secret; the file has it in hexadecimal.
const LEN: usize = 32;

/// Reads the secret of this state directory; makes one if there is none.
///
/// # Errors
/// The file cannot be read or written, others may read it, or it is no secret; the text says which file.
pub fn read_or_make(state: &Path) -> Result<Secret, String> {
    let path = state.join(FILE);
    if path.exists() {
        // An editor may have put a line end behind it.
        let text = private_file::read(&path, 2 * LEN as u64 + 2).map_err(|error| error.to_string())?;
        // What the decoder says would show a part of it.
        let decoded = hex::decode(text.trim_ascii_end());
        let bytes = Zeroizing::new(decoded.map_err(|_| format!("{} is not in hexadecimal", path.display()))?);
        if bytes.len() != LEN {
            return Err(format!("{} holds {} bytes; allowed: {LEN}", path.display(), bytes.len()));
        }
        return Ok(Secret::new(bytes.to_vec()));
    }
    let mut bytes = Zeroizing::new([0; LEN]);
    SystemEntropy::new().fill(&mut *bytes);
    let text = Zeroizing::new(hex::encode(bytes.as_slice()));
    private_file::replace(&path, text.as_bytes()).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(Secret::new(bytes.to_vec()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_secret_is_private_and_the_same_at_the_next_start() {
        let state = tempfile::tempdir().unwrap();
        let first = read_or_make(state.path()).unwrap();
        let second = read_or_make(state.path()).unwrap();
        assert_eq!((first.as_bytes(), first.as_bytes().len()), (second.as_bytes(), LEN));
        let path = state.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        private_file::replace(&path, format!("{text}\n").as_bytes()).unwrap();
        assert_eq!(read_or_make(state.path()).unwrap().as_bytes(), first.as_bytes());
        let other = tempfile::tempdir().unwrap();
        assert_ne!(read_or_make(other.path()).unwrap().as_bytes(), first.as_bytes());
    }

    #[test]
    fn a_file_that_is_no_secret_is_refused_by_name_and_left_alone() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join(FILE);
        for damaged in ["", "0011", "not hexadecimal"] {
            private_file::replace(&path, damaged.as_bytes()).unwrap();
            let error = read_or_make(state.path()).unwrap_err();
            assert!(error.contains(FILE), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
        }
    }
}
