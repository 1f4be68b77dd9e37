//! cend's last set in the state directory, so that a start has the cloud's connections before cend is there.

use std::path::Path;

use tracing::info;

use crate::control::owner::OwnerSet;
use crate::io::private_file;

/// The file of cend's last set in the state directory.
const OWNER_FILE: &str = "cend.json";
/// The largest set that is read back, in bytes.
const OWNER_FILE_LIMIT: u64 = 64 << 20;

/// Makes the state directory, which only its owner may look into.
///
/// # Errors
/// It cannot be made.
pub fn make_state_directory(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Reads back cend's set of the last run, if there is one.
///
/// # Errors
/// It cannot be read. What it protected is still known from the policy that was kept.
pub fn restore(state: &Path) -> Result<Option<OwnerSet>, String> {
    let path = state.join(OWNER_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let text = private_file::read(&path, OWNER_FILE_LIMIT).map_err(|error| error.to_string())?;
    let set: OwnerSet = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    info!(revision = set.revision, connections = set.connections.len(), "restored cend's set");
    Ok(Some(set))
}

/// Keeps a set for the next start, readable by its owner only.
///
/// # Errors
/// The state directory does not take it; what was kept before stays.
pub fn keep(state: &Path, set: &OwnerSet) -> std::io::Result<()> {
    std::fs::create_dir_all(state)?;
    let text = zeroize::Zeroizing::new(serde_json::to_vec(set)?);
    private_file::replace(&state.join(OWNER_FILE), &text)
}
