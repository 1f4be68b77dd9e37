//! `gatewayctl release`: opens what gatewayd left closed.

use std::process::ExitCode;

use crate::io::forwarding::{self, ForwardingError, Released};
use crate::io::instance::{self, Holder};
use crate::io::netns::Namespace;

/// Why nothing was released.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("gatewayd runs in this network namespace: {0}; stop it first (systemctl stop gatewayd)")]
    Runs(Holder),
    #[error(
        "{0} holds gatewayd's name in this network namespace, but is no gatewayd as it seems; --force releases nevertheless"
    )]
    Held(Holder),
    #[error(transparent)]
    Unknown(#[from] std::io::Error),
    #[error("not everything could be taken away: {0}")]
    Stays(#[from] ForwardingError),
}

/// Takes away what a gatewayd left in this network namespace, under whatever device name. With `force`, a process that holds
/// its name and may not run one does not matter.
pub async fn release(force: bool) -> Result<Released, ReleaseError> {
    match instance::holder()? {
        Some(holder) if holder.trusted => return Err(ReleaseError::Runs(holder)),
        Some(holder) if !force => return Err(ReleaseError::Held(holder)),
        Some(_) | None => {}
    }
    Ok(forwarding::release(Namespace::Own).await?)
}

/// Fails if it is not known whether something stays.
pub fn exit_code(released: &Released) -> ExitCode {
    if released.trouble.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What was released, for a person.
pub fn shown(released: &Released) -> String {
    let Released { routes, rules, tables, trouble } = released;
    if let Some(trouble) = trouble {
        return format!(
            "released: {routes} kernel routes, {rules} policy rules; whether the nftables table \"gatewayd\" stays is not \
             known: {trouble}"
        );
    }
    if *routes + *rules + tables.len() == 0 {
        return "nothing of gatewayd is left in this network namespace".to_owned();
    }
    let tables = if tables.is_empty() { "none".to_owned() } else { tables.join(", ") };
    format!(
        "released: {routes} kernel routes, {rules} policy rules, nftables tables: {tables}; nothing is protected now"
    )
}
