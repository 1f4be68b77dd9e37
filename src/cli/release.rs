//! `gatewayctl release`: opens what gatewayd left closed.

use crate::io::forwarding::{self, ForwardingError, Released};
use crate::io::instance;
use crate::io::netns::Namespace;

/// Why nothing was released.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("gatewayd runs in this network namespace, as process {0}; stop it first (systemctl stop gatewayd)")]
    Runs(i32),
    #[error(transparent)]
    Unknown(#[from] std::io::Error),
    #[error("not everything could be taken away: {0}")]
    Stays(#[from] ForwardingError),
}

/// Takes away what a gatewayd left in this network namespace, under whatever device name.
pub async fn release() -> Result<Released, ReleaseError> {
    if let Some(running) = instance::running()? {
        return Err(ReleaseError::Runs(running.process));
    }
    Ok(forwarding::release(Namespace::Own).await?)
}

/// What was released, for a person.
pub fn shown(released: &Released) -> String {
    let Released { routes, rules, tables } = released;
    if *routes + *rules + tables.len() == 0 {
        return "nothing of gatewayd is left in this network namespace".to_owned();
    }
    let tables = if tables.is_empty() { "none".to_owned() } else { tables.join(", ") };
    format!(
        "released: {routes} kernel routes, {rules} policy rules, nftables tables: {tables}; nothing is protected now"
    )
}
