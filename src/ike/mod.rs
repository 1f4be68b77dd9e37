//! The sans-IO IKEv2 endpoint (RFC 7296).
//!
//! [`Endpoint`] takes datagrams, commands and the passing of time, and yields datagrams to send, events and its next
//! deadline. It opens no socket and reads no clock.

mod agenda;
mod association;
mod authentication;
mod budget;
mod channel;
mod child;
mod child_offer;
mod children;
pub mod config;
mod context;
mod cookie;
mod coverage;
mod data_path;
mod directory;
mod echo;
mod ended;
mod endpoint;
pub mod error;
pub mod event;
mod exchange;
mod ext;
pub mod failure;
mod half_open;
mod identity;
pub mod key_log;
mod keys;
mod liveness;
mod message;
mod negotiate;
mod own_spi;
mod refused;
mod sa;
mod sealer;
mod size;
mod source;
mod state;
pub mod status;
mod successor;
mod tasks;
mod transcript;
mod upkeep;
mod waiting;
mod wanted;
mod window;

pub use association::{AssociationId, are_siblings};
pub use channel::UNAUTHENTICATED_LIMIT;
pub use config::{
    Change, Child, Childless, Config, Connection, EspProposal, Extensions, IkeProposal, Peer, Place, Retransmission,
    Start,
};
pub use coverage::Flows;
pub use endpoint::{Endpoint, LONGEST_INIT, SHUTDOWN_TIME, Standing};
pub use error::{Discard, DiscardCounters, Unsendable};
pub use event::{
    ChildSa, Command, Deadline, Encapsulation, Event, Output, Path, RekeyWhat, Removal, SaActivity, SaKeys, SaLimit,
    Transmit, Why,
};
pub use failure::{AuthenticationError, Failure, Foreign, Refusal};
pub use key_log::KeyLog;
pub use source::Source;
pub use status::{AssociationStatus, ChildState, ChildStatus, ConnectionState, ConnectionStatus, IkeSaStatus};
