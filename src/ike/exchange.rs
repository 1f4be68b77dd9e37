//! The exchanges of an established IKE SA, one concern per file.

pub(super) mod collision;
pub(super) mod create_child;
pub(super) mod delete;
pub(super) mod liveness;
pub(super) mod path_probe;
pub(super) mod rekey;

use self::create_child::CreateChild;
use self::rekey::RekeyIke;
use super::event::Removal;
use super::wanted::WantedChild;

/// The exchange of ours that is under way; the window allows one.
pub(super) enum Exchange {
    /// CREATE_CHILD_SA for a new Child SA or for one that replaces another.
    CreateChild(Box<CreateChild>),
    /// CREATE_CHILD_SA for an IKE SA that replaces this one.
    RekeyIke(Box<RekeyIke>),
    /// INFORMATIONAL that deletes Child SAs.
    DeleteChild {
        /// The SPI that we receive on.
        inbound_spi: u32,
        reason: Removal,
    },
    /// INFORMATIONAL that deletes this IKE SA.
    DeleteIke,
    /// INFORMATIONAL without payloads.
    Liveness,
    /// INFORMATIONAL in which extensions say something.
    Inform,
    /// INFORMATIONAL of a certain size.
    PathProbe {
        /// The size that was asked for, and that of the outer packet.
        asked: u16,
        sent: u16,
    },
}

/// An exchange of ours that is to come.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Task {
    CreateChild(WantedChild),
    /// The pair with this inbound SPI.
    RekeyChild(u32),
    RekeyIke,
    DeleteChild {
        inbound_spi: u32,
        reason: Removal,
    },
    DeleteIke,
    Liveness,
    /// What extensions have to say.
    Inform,
    /// Of an outer packet of this size.
    PathProbe(u16),
}

impl Task {
    /// What it is to set up, if that is what it does.
    pub(super) fn wanted(&self) -> Option<&WantedChild> {
        match self {
            Self::CreateChild(wanted) => Some(wanted),
            _ => None,
        }
    }
}
