//! What an established IKE SA is to do, as plain data.

use crate::ike::event::Removal;
use crate::ike::wanted::WantedChild;

/// An exchange of ours that is to come.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::ike) enum Task {
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
    /// INFORMATIONAL in which extensions say what they have to say.
    Inform,
    /// Of an outer packet of this size.
    PathProbe(u16),
}

impl Task {
    /// What it is to set up, if that is what it does.
    pub(in crate::ike) fn wanted(&self) -> Option<&WantedChild> {
        match self {
            Self::CreateChild(wanted) => Some(wanted),
            _ => None,
        }
    }

    /// Whether it replaces an SA that there is.
    pub(in crate::ike) fn is_rekey(&self) -> bool {
        matches!(self, Self::RekeyChild(_) | Self::RekeyIke)
    }

    /// Whether another IKE SA that takes this one's place has to do it: it is about the Child SAs, or the peer.
    pub(in crate::ike) fn is_inherited(&self) -> bool {
        !matches!(self, Self::RekeyIke | Self::DeleteIke)
    }
}
