//! The exchanges of an established IKE SA, one concern per file. Each is consumed by its response, works on the parts of
//! the IKE SA that it needs, and leaves what comes next to the code that joins these parts.

pub(super) mod child_requested;
pub(super) mod collision;
pub(super) mod create_child;
pub(super) mod delete;
pub(super) mod inform;
pub(super) mod liveness;
pub(super) mod next;
pub(super) mod path_probe;
pub(super) mod rekey;
pub(super) mod rekey_requested;
pub(super) mod task;

use self::create_child::CreateChild;
use self::delete::{DeleteChild, DeleteIke};
use self::inform::Inform;
use self::liveness::Liveness;
use self::next::Next;
use self::path_probe::PathProbe;
use self::rekey::RekeyIke;
use self::task::Task;
use super::children::Children;
use super::context::Context;
use super::error::Unsendable;
use super::message::Payloads;
use super::sa::{Cause, Phase, Sa};
use super::tasks::Tasks;
use super::wanted::WantedChild;

/// The exchange of ours that is under way; the window allows one.
pub(super) enum Exchange {
    /// CREATE_CHILD_SA for a new Child SA or for one that replaces another.
    CreateChild(Box<CreateChild>),
    /// CREATE_CHILD_SA for an IKE SA that replaces this one.
    RekeyIke(Box<RekeyIke>),
    /// INFORMATIONAL that deletes a Child SA.
    DeleteChild(DeleteChild),
    /// INFORMATIONAL that deletes this IKE SA.
    DeleteIke(DeleteIke),
    /// INFORMATIONAL without payloads.
    Liveness(Liveness),
    /// INFORMATIONAL in which extensions say something.
    Inform(Inform),
    /// INFORMATIONAL of a certain size.
    PathProbe(PathProbe),
}

impl Exchange {
    /// Begins what is to be done, if there is still a need for it.
    pub(super) fn start(task: Task, sa: &mut Sa, children: &mut Children, cx: &mut Context<'_>) -> Next<Self> {
        match task {
            Task::CreateChild(wanted) if children.have(&wanted) => Next::Done,
            Task::CreateChild(wanted) => CreateChild::start(wanted, sa, children, cx).map(Self::create_child),
            Task::RekeyChild(spi) => CreateChild::start_rekey(spi, sa, children, cx).map(Self::create_child),
            Task::RekeyIke => RekeyIke::start(sa, cx).map(Self::rekey_ike),
            Task::DeleteChild { inbound_spi, reason } => {
                DeleteChild::start(inbound_spi, reason, children, cx).map(Self::DeleteChild)
            }
            Task::DeleteIke => DeleteIke::start().map(Self::DeleteIke),
            Task::Liveness => Liveness::start(sa, cx).map(Self::Liveness),
            Task::Inform => Inform::start(sa, cx).map(Self::Inform),
            Task::PathProbe(size) => PathProbe::start(size, sa, cx).map(Self::PathProbe),
        }
    }

    /// Takes the peer's response. `repeated` says whether the request had been sent more than once.
    ///
    /// # Errors
    /// The IKE SA is deleted at both ends, for this cause.
    pub(super) fn reply(
        self,
        reply: &Payloads,
        repeated: bool,
        sa: &mut Sa,
        children: &mut Children,
        tasks: &mut Tasks,
        cx: &mut Context<'_>,
    ) -> Result<Next<Self>, Cause> {
        match self {
            // The IKE SA goes, and with it the Child SA that the answer would have brought.
            Self::CreateChild(_) if matches!(sa.phase(), Phase::Closing(_)) => {}
            Self::CreateChild(exchange) => {
                return Ok(exchange.reply(reply, sa, children, tasks, cx).map(Self::create_child));
            }
            Self::RekeyIke(exchange) => return Ok(exchange.reply(reply, sa, tasks, cx).map(Self::rekey_ike)),
            Self::DeleteChild(exchange) => exchange.reply(children, cx),
            Self::DeleteIke(DeleteIke) => {
                return Err(match sa.phase() {
                    Phase::Closing(cause) => cause.clone(),
                    Phase::Active | Phase::Passive(_) => Cause::Closed,
                });
            }
            Self::Liveness(Liveness) | Self::Inform(Inform) => {}
            Self::PathProbe(exchange) => exchange.reply(!repeated, sa, cx),
        }
        Ok(Next::Done)
    }

    /// Our request does not fit a message. An exchange that can fail alone does.
    ///
    /// # Errors
    /// Any other: the IKE SA cannot go on without it.
    pub(super) fn not_sent(
        self,
        unsendable: Unsendable,
        sa: &mut Sa,
        children: &mut Children,
        tasks: &mut Tasks,
        cx: &mut Context<'_>,
    ) -> Result<Next<Self>, Unsendable> {
        match self {
            Self::CreateChild(exchange) => exchange.not_sent(unsendable, sa, children, tasks, cx),
            Self::RekeyIke(exchange) => return Ok(exchange.not_sent(unsendable, sa, cx).map(Self::rekey_ike)),
            // Nothing depends on a probe.
            Self::PathProbe(_) => {}
            Self::DeleteChild(_) | Self::DeleteIke(_) | Self::Liveness(_) | Self::Inform(_) => {
                return Err(unsendable);
            }
        }
        Ok(Next::Done)
    }

    /// The Child SA of the IKE SA's own connection that it is to set up.
    pub(super) fn wanted(&self) -> Option<&WantedChild> {
        match self {
            Self::CreateChild(exchange) if !exchange.is_guests() => Some(exchange.wanted()),
            _ => None,
        }
    }

    /// The exchange, if it rekeys the IKE SA.
    pub(super) fn rekeys_ike(&self) -> Option<&RekeyIke> {
        match self {
            Self::RekeyIke(exchange) => Some(exchange),
            _ => None,
        }
    }

    /// Whether the peer must not begin anything about the Child SAs meanwhile (RFC 7296 2.25.2).
    pub(super) fn refuses_children(&self) -> bool {
        matches!(self, Self::RekeyIke(_) | Self::DeleteIke(_))
    }

    /// Whether the peer must not rekey the IKE SA meanwhile (RFC 7296 2.25.2).
    pub(super) fn refuses_rekey_of_ike(&self) -> bool {
        match self {
            Self::CreateChild(_) | Self::DeleteChild(_) | Self::DeleteIke(_) => true,
            Self::RekeyIke(exchange) => exchange.rival().is_some(),
            Self::Liveness(_) | Self::Inform(_) | Self::PathProbe(_) => false,
        }
    }

    /// It is not waited for any more: what it has allocated is free again.
    pub(super) fn abandon(&self, cx: &mut Context<'_>) {
        match self {
            Self::CreateChild(exchange) => exchange.abandon(cx),
            Self::DeleteChild(exchange) => exchange.abandon(cx),
            _ => {}
        }
    }

    fn create_child(exchange: CreateChild) -> Self {
        Self::CreateChild(Box::new(exchange))
    }

    fn rekey_ike(exchange: RekeyIke) -> Self {
        Self::RekeyIke(Box::new(exchange))
    }
}
