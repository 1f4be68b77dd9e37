//! cend.toml, and the flags that replace it.
//!
//! Unknown keys and values that cannot be are refused with file, line, key and what is allowed.

mod access_key;
mod check;
mod error;
mod file;
mod read;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use access_key::AccessKey;
pub use error::ConfigError;

use super::fabric_binding::Bindings;
use crate::cen::network::Declarations;
use crate::cen::realism::Settings;

/// Everything that cend runs with.
#[derive(Debug)]
pub struct Config {
    /// Where the API listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the API listens with TLS, if it does.
    pub listen_tls: Option<SocketAddr>,
    /// PEM files with the certificate for it and its key. Without them cend has an authority of its own in the state
    /// directory.
    pub tls_files: Option<(PathBuf, PathBuf)>,
    /// Directory of the store.
    pub state: PathBuf,
    /// A filter for the log, for example `info`.
    pub log: String,
    /// Core files, which hold keys, are permitted.
    pub core_dumps: bool,
    /// Who may call, as id and secret.
    pub access_keys: Vec<AccessKey>,
    /// What exists beside what the API makes.
    pub declarations: Declarations,
    /// What is real; empty for a pure simulation.
    pub bindings: Bindings,
    /// How long things take and how often calls are refused, as in the real cloud.
    pub realism: Settings,
}

impl Config {
    /// A simulation without a configuration file.
    pub fn simulation(listen: SocketAddr, state: PathBuf) -> Self {
        Self {
            listen,
            listen_tls: None,
            tls_files: None,
            state,
            log: file::default_log(),
            core_dumps: false,
            access_keys: Vec::new(),
            declarations: Declarations::default(),
            bindings: Bindings::default(),
            realism: Settings::default(),
        }
    }
}

#[cfg(test)]
mod tests;
