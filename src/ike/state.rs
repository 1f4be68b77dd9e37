//! The states of an IKE SA. Each holds only the fields that it needs and is consumed by its input.
//!
//! ```text
//!  initiator:  InitSent ──IKE_SA_INIT response──► AuthSent ──IKE_AUTH response──┐
//!     ▲ └─ COOKIE, INVALID_KE_PAYLOAD ─┘                                        ▼
//!                                                                          Established ──► Lingering ──► gone
//!  responder:  AwaitingAuth ──────────────IKE_AUTH request──────────────────────▲ │            ▲
//!                    └───────── AUTHENTICATION_FAILED ──────────────────────────┼─┼────────────┘
//!                                                          rekey of an IKE SA ──┘◄┘
//! ```
//! Input reaches a state only through its `open` or `check`, which take `&self`: a datagram that fails there is a
//! [`Discard`] and has changed nothing.

pub(super) mod auth_sent;
pub(super) mod awaiting_auth;
pub(super) mod established;
pub(super) mod init_sent;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::auth_sent::AuthSent;
use self::awaiting_auth::AwaitingAuth;
use self::established::Established;
use self::init_sent::{InitReply, InitSent, Next};
use super::association::Association;
use super::channel::{Channel, Opened, OpenedMessage};
use super::config::Connection;
use super::context::Context;
use super::echo::Echo;
use super::ended::Ended;
use super::error::Discard;
use super::event::{Deadline, Output, Path, Transmit, Why};
use super::ext::reassembly::VerifiedFragment;
use super::sa::Cause;
use super::successor::Successor;
use crate::wire::ike::{IkeSpi, ParsedMessage};

/// How long the answer to a last request is kept for repetitions of it.
const LINGER: Duration = Duration::from_secs(10);

/// An IKE SA in one of its states.
pub(super) enum IkeSa {
    InitSent(Box<InitSent>),
    AuthSent(Box<AuthSent>),
    AwaitingAuth(Box<AwaitingAuth>),
    Established(Box<Established>),
    Lingering(Box<Lingering>),
}

/// An IKE SA that is closed and only repeats its last answer. It has no keys any more.
pub(super) struct Lingering {
    echo: Echo,
    until: Instant,
    /// Set for one that was refused: it counts among the half-open ones until it is gone, so that failing again and
    /// again costs an initiator its share, not us our memory.
    pub(super) half_open: Option<(IkeSpi, SocketAddr)>,
}

/// A verified input.
pub(super) enum Input {
    Init(InitReply),
    Message(OpenedMessage),
    Repeated(Vec<Transmit>),
    Fragment(VerifiedFragment),
}

impl Lingering {
    pub(super) fn new(channel: Channel, half_open: Option<(IkeSpi, SocketAddr)>, now: Instant) -> Self {
        Self { echo: channel.into_echo(), until: now + LINGER, half_open }
    }

    /// Bytes of messages that it keeps.
    pub(super) fn kept_bytes(&self) -> usize {
        self.echo.window.answer().iter().map(Vec::len).sum()
    }
}

impl IkeSa {
    pub(super) fn established(state: Established) -> Self {
        Self::Established(Box::new(state))
    }

    /// Verifies a message for this SA.
    pub(super) fn open(&self, message: &ParsedMessage<'_>, path: Path) -> Result<Input, Discard> {
        let opened = match self {
            Self::InitSent(state) => return state.check(message, path).map(Input::Init),
            Self::AuthSent(state) => state.open(message, path)?,
            Self::AwaitingAuth(state) => state.open(message, path)?,
            Self::Established(state) => state.sa().channel().open(message, path)?,
            Self::Lingering(state) => return state.echo.answer(message, path).map(Input::Repeated),
        };
        Ok(match opened {
            Opened::Message(message) => Input::Message(message),
            Opened::Repeated(answer) => Input::Repeated(answer),
            Opened::Fragment(fragment) => Input::Fragment(fragment),
        })
    }

    /// Where fragments of a message are collected.
    fn channel_mut(&mut self) -> Option<&mut Channel> {
        match self {
            Self::AuthSent(state) => Some(state.channel_mut()),
            Self::AwaitingAuth(state) => state.channel_mut(),
            Self::Established(state) => Some(state.channel_mut()),
            Self::InitSent(_) | Self::Lingering(_) => None,
        }
    }

    /// Takes a verified input.
    pub(super) fn handle(mut self, input: Input, cx: &mut Context<'_>) -> Result<Self, Ended> {
        let input = match input {
            Input::Fragment(fragment) => match self.channel_mut().and_then(|channel| channel.collect(fragment)) {
                Some(message) => Input::Message(message),
                None => return Ok(self),
            },
            input => input,
        };
        match (self, input) {
            (sa, Input::Repeated(answer)) => {
                answer.into_iter().for_each(|transmit| cx.outbox.push(Output::Transmit(transmit)));
                Ok(sa)
            }
            (Self::InitSent(state), Input::Init(reply)) => state.handle(reply, cx).map(|next| match next {
                Next::InitSent(state) => Self::InitSent(state),
                Next::AuthSent(state) => Self::AuthSent(state),
            }),
            (Self::AuthSent(state), Input::Message(message)) => state.handle(message, cx).map(Self::established),
            (Self::AwaitingAuth(state), Input::Message(message)) => state.handle(message, cx).map(Self::established),
            (Self::Established(state), Input::Message(message)) => state.handle(message, cx).map(Self::established),
            (sa, _) => Ok(sa),
        }
    }

    /// Lets time pass.
    pub(super) fn handle_timeout(self, cx: &mut Context<'_>) -> Result<Self, Ended> {
        match self {
            Self::InitSent(state) => state.handle_timeout(cx).map(|state| Self::InitSent(Box::new(state))),
            Self::AuthSent(state) => state.handle_timeout(cx).map(|state| Self::AuthSent(Box::new(state))),
            Self::AwaitingAuth(state) if state.deadline() <= cx.now => Err(Ended::new(Cause::NoAnswer, None)),
            Self::Established(state) => state.handle_timeout(cx).map(Self::established),
            Self::Lingering(state) if state.until <= cx.now => Err(Ended::new(Cause::Closed, None)),
            sa => Ok(sa),
        }
    }

    /// The peer's address, if a request of ours waits for its answer.
    pub(super) fn awaited(&self) -> Option<IpAddr> {
        let path = match self {
            Self::InitSent(state) => state.path(),
            Self::AuthSent(state) => state.path(),
            Self::Established(state) => {
                Some(state.sa().channel()).filter(|channel| channel.deadline().is_some())?.path()
            }
            Self::AwaitingAuth(_) | Self::Lingering(_) => return None,
        };
        Some(path.peer.ip())
    }

    /// A request of ours that waits for its answer is due at once, if it was not sent a moment ago.
    pub(super) fn prompt(&mut self, now: Instant) {
        match self {
            Self::InitSent(state) => state.prompt(now),
            Self::AuthSent(state) => drop(state.channel_mut().window_mut().prompt(now)),
            Self::Established(state) => drop(state.channel_mut().window_mut().prompt(now)),
            Self::AwaitingAuth(_) | Self::Lingering(_) => {}
        }
    }

    /// Goes on, unless a message that it cannot do without did not fit the wire.
    pub(super) fn unless_broken(self, cx: &mut Context<'_>) -> Result<Self, Ended> {
        match self {
            Self::Established(state) => state.unless_broken(cx).map(Self::established),
            sa => Ok(sa),
        }
    }

    /// IKE SAs that came of rekeys, for the endpoint to adopt.
    pub(super) fn take_successors(&mut self) -> Vec<Successor> {
        match self {
            Self::Established(state) => state.take_successors(),
            _ => Vec::new(),
        }
    }

    /// When it wants to be called.
    pub(super) fn deadline(&self) -> Option<Deadline> {
        match self {
            Self::InitSent(state) => state.deadline().map(|at| Deadline { at, why: Why::Retransmit }),
            Self::AuthSent(state) => state.deadline().map(|at| Deadline { at, why: Why::Retransmit }),
            Self::AwaitingAuth(state) => Some(Deadline { at: state.deadline(), why: Why::HalfOpen }),
            Self::Established(state) => state.deadline(),
            Self::Lingering(state) => Some(Deadline { at: state.until, why: Why::HalfOpen }),
        }
    }

    /// Whose it is, once its peer is authenticated.
    pub(super) fn association(&self) -> Option<&Arc<Association>> {
        match self {
            Self::Established(state) => Some(state.sa().association()),
            _ => None,
        }
    }

    /// What it carries of other connections: whose it is, and the name of the child.
    pub(super) fn guests(&self) -> Vec<(Arc<Association>, Arc<str>)> {
        match self {
            Self::Established(state) => {
                let guests = state.children().guests();
                guests.map(|pair| (pair.association.clone(), pair.child.clone())).collect()
            }
            _ => Vec::new(),
        }
    }

    /// The connection that it belongs to; a half-open IKE SA of a responder has none yet.
    pub(super) fn connection(&self) -> Option<&Arc<Connection>> {
        match self {
            Self::InitSent(state) => Some(state.connection()),
            Self::AuthSent(state) => Some(state.connection()),
            Self::Established(state) => Some(state.sa().connection()),
            Self::AwaitingAuth(_) | Self::Lingering(_) => None,
        }
    }
}
