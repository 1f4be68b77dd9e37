//! Clients beside the Python SDKs.

use std::path::PathBuf;
use std::sync::OnceLock;

use crate::venv::made;

/// The folder of the Node.js clients; `None` offline.
pub fn node() -> Option<PathBuf> {
    static NODE: OnceLock<Option<PathBuf>> = OnceLock::new();
    made(&NODE, "make-node.sh", "node-clients", &[])
}

/// The environment of Prowler; `None` offline.
pub fn prowler() -> Option<PathBuf> {
    static PROWLER: OnceLock<Option<PathBuf>> = OnceLock::new();
    made(&PROWLER, "make-venv.sh", "prowler-venv", &["prowler-requirements.txt"])
}

/// The environment of `ansible-playbook`; `None` offline. Its modules for the cloud ask for the whole of Ansible's
/// collections, and need none of them.
pub fn ansible() -> Option<PathBuf> {
    static ANSIBLE: OnceLock<Option<PathBuf>> = OnceLock::new();
    made(&ANSIBLE, "make-venv.sh", "ansible-venv", &["ansible/requirements.txt", "ansible/collection.txt"])
}
