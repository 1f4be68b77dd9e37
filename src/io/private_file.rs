//! Files that hold secrets: only their owner may read them, and they are replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::fault;

/// Why a file with secrets was not read.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// The file cannot be opened or read, or is not text in UTF-8.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The group or the world has a right to the file.
    #[error("{path} has mode {mode:04o}, so others may read it; allowed: 0600 or 0400 (run chmod 600 {path})")]
    OthersMayRead {
        /// The file.
        path: String,
        /// Its permission bits (chmod(2)).
        mode: u32,
    },
    /// The file is larger than one of its kind can be.
    #[error("{path} has {length} bytes; allowed: up to {limit}")]
    TooLarge {
        /// The file.
        path: String,
        /// Its length in bytes.
        length: u64,
        /// The most bytes that are read.
        limit: u64,
    },
}

/// Whether the group or the world may do anything with the file. A file that is not there is nobody's to read.
pub fn others_may_read(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.mode() & 0o077 != 0)
}

/// Reads a text of at most `limit` bytes that neither the group nor the world may read or write.
pub fn read(path: &Path, limit: u64) -> Result<Zeroizing<String>, PrivateFileError> {
    let mut bytes = read_bytes(path, limit)?;
    String::from_utf8(std::mem::take(&mut *bytes)).map(Zeroizing::new).map_err(|error| {
        drop(Zeroizing::new(error.into_bytes()));
        let source = io::Error::new(io::ErrorKind::InvalidData, "it is not text in UTF-8");
        PrivateFileError::Io { path: path.display().to_string(), source }
    })
}

/// As [`read`], whatever the bytes are.
pub fn read_bytes(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    let shown = || path.display().to_string();
    let failed = |source| PrivateFileError::Io { path: shown(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.mode() & 0o077 != 0 {
        return Err(PrivateFileError::OthersMayRead { path: shown(), mode: metadata.mode() & 0o7777 });
    }
    let length = metadata.len();
    if length > limit {
        return Err(PrivateFileError::TooLarge { path: shown(), length, limit });
    }
    // Room for all of it at once, so that no half-read copy is left behind by a reallocation.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.take(length).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// Replaces a file as a whole: after a crash there is the old content or the new, on the disk, with mode 0600.
#[expect(clippy::disallowed_methods, reason = "whoever answers somebody calls it by spawn_blocking")]
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file needs a folder"))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = folder.join(name);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fault::point()?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    fault::point()?;
    file.write_all(content)?;
    fault::point()?;
    file.sync_all()?;
    fault::point()?;
    fs::rename(&new, path)?;
    fault::point()?;
    File::open(folder)?.sync_all()
}

/// Removes a file, if it is there; that it is gone is on the disk.
#[expect(clippy::disallowed_methods, reason = "whoever answers somebody calls it by spawn_blocking")]
pub fn remove(path: &Path) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a file needs a folder"))?;
    fault::point()?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    fault::point()?;
    // Also where it was gone: a removal before may not be on the disk yet.
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_is_replaced_is_private_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.json");
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(*read(&path, 10).unwrap(), "two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, "swordfish").unwrap();
        for mode in [0o640, 0o604, 0o620, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path, 100).unwrap_err().to_string();
            assert!(error.contains(&format!("{mode:04o}")) && !error.contains("swordfish"), "{error}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(matches!(read(&path, 3), Err(PrivateFileError::TooLarge { length: 9, .. })));
        assert_eq!(*read(&path, 9).unwrap(), "swordfish");
    }
}
