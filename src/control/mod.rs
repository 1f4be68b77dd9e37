//! The operator protocol of gatewayd, shared with cend and gatewayctl: HTTP and JSON over a Unix socket.
//!
//! Everything here is a value of its own, never a type of a protocol core, so that a key cannot reach a reply by
//! accident: the only secret in this module is [`owner::PresharedKey`], which travels towards gatewayd and never back.
//!
//! | request | reply |
//! |---|---|
//! | `GET /v1/status` | [`status::Status`] |
//! | `GET /v1/status?connection={name}` | [`status::Status`] of this connection and its routes, without `plaintext` in its drops |
//! | `GET /v1/connections` | list of [`status::Connection`] |
//! | `GET /v1/routes` | list of [`route::Route`] |
//! | `POST /v1/connections/{name}/{up,down,rekey}` | [`action::Accepted`] |
//! | `POST /v1/connections/{name}/rekey?sa=ike`, `…?child={child}` | the same, of the IKE SA or of one child alone |
//! | `POST /v1/reload` | [`reload::Reloaded`] |
//! | `GET /v1/events`, `GET /v1/events?connection={name}` | server-sent events, each [`event::Event`] |
//! | `GET /v1/events?since={time}` | the same behind what has happened since (RFC 3339), as far as gatewayd remembers it |
//! | `PUT /v1/owners/cend` with [`owner::OwnerSet`], `GET /v1/owners/cend` | [`owner::OwnerReply`] |
//! | `PATCH /v1/owners/cend` with [`owner_change::OwnerChange`] | [`owner::OwnerReply`] |
//! | `GET /v1/connections/{name}/export` | [`export::ConnectionExport`] |
//!
//! A failed request is answered with [`Problem`].

pub mod action;
pub mod event;
pub mod export;
pub mod owner;
pub mod owner_change;
pub mod reload;
pub mod request;
pub mod route;
pub mod status;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who defined a connection or a route; only that side may change or remove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Owner {
    /// gatewayd's configuration file.
    File,
    /// The simulated cloud, through `PUT /v1/owners/cend`.
    Cend,
}

impl Owner {
    /// The word that JSON has.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Cend => "cend",
        }
    }
}

/// The body of every reply that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// What went wrong and what would be right, for a person to read.
    pub error: String,
    /// The revision of cend's set in force, where a change was refused because it begins at another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
}
