//! Every IKE SA of the endpoint, found by its SPI, with what its handlers need.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::timers::{Timer, Timers};
use crate::crypto::{Entropy, Secret};
use crate::ike::association::{Association, Associations};
use crate::ike::config::{Config, Connection};
use crate::ike::context::{Context, InboundSpis, Outbox};
use crate::ike::directory::Directory;
use crate::ike::ended::Ended;
use crate::ike::event::{Event, Output};
use crate::ike::ext::table;
use crate::ike::half_open::HalfOpen;
use crate::ike::key_log::KeyLog;
use crate::ike::state::established::Established;
use crate::ike::state::{IkeSa, Lingering};
use crate::ike::successor::Successor;
use crate::wire::ike::IkeSpi;

/// The IKE SAs by the SPI that we chose.
pub(super) struct IkeSaTable {
    by_spi: HashMap<IkeSpi, IkeSa>,
    pub(super) half_open: HalfOpen,
    pub(super) timers: Timers,
    pub(super) config: Arc<Config>,
    pub(super) directory: Directory,
    pub(super) associations: Associations,
    pub(super) entropy: Box<dyn Entropy>,
    pub(super) outbox: Outbox,
    pub(super) inbound_spis: InboundSpis,
    pub(super) key_log: Option<Box<dyn KeyLog>>,
    pub(super) token_secret: Option<Secret>,
}

/// Whose a pair of another connection is, and the name of its child.
pub(super) type Guest = (Arc<Association>, Arc<str>);

/// What a handler has made of an IKE SA, as far as it concerns the connection.
pub(super) struct Handled {
    pub(super) before: Before,
    pub(super) end: Option<Ended>,
    /// It has just been authenticated.
    pub(super) established: bool,
    /// IKE SAs that came of its rekeys.
    pub(super) successors: Vec<Successor>,
    /// What it carries of other connections.
    pub(super) guests: Vec<Guest>,
    /// Another one is to be negotiated beside it.
    pub(super) renegotiate: bool,
    /// Its path answers that was silent.
    pub(super) answers: bool,
}

/// What an IKE SA was before a handler consumed it.
pub(super) struct Before {
    pub(super) connection: Option<Arc<Connection>>,
    /// Whose it was, if it was established.
    pub(super) association: Option<Arc<Association>>,
    /// What it carried of other connections.
    pub(super) guests: Vec<Guest>,
    /// With whom we negotiate it as its initiator.
    pub(super) negotiating: Option<IpAddr>,
    half_open: Option<(IkeSpi, SocketAddr)>,
}

impl IkeSaTable {
    /// Without any.
    pub(super) fn new(config: Arc<Config>, entropy: Box<dyn Entropy>) -> Self {
        Self {
            by_spi: HashMap::new(),
            half_open: HalfOpen::default(),
            timers: Timers::default(),
            directory: Directory::new(&config.connections, table::wanted),
            associations: Associations::default(),
            config,
            entropy,
            outbox: Outbox::default(),
            inbound_spis: InboundSpis::default(),
            key_log: None,
            token_secret: None,
        }
    }

    /// What a handler gets besides its input.
    pub(super) fn context(&mut self, now: Instant) -> Context<'_> {
        Context {
            now,
            config: &self.config,
            directory: &self.directory,
            associations: &mut self.associations,
            entropy: &mut *self.entropy,
            outbox: &mut self.outbox,
            inbound_spis: &mut self.inbound_spis,
            key_log: self.key_log.as_deref(),
            token_secret: self.token_secret.as_ref(),
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        self.outbox.push(Output::Event(event));
    }

    pub(super) fn get(&self, spi: &IkeSpi) -> Option<&IkeSa> {
        self.by_spi.get(spi)
    }

    /// Derives the keys of one that waits for IKE_AUTH.
    pub(super) fn derive(&mut self, spi: &IkeSpi) {
        if let Some(IkeSa::AwaitingAuth(state)) = self.by_spi.get_mut(spi) {
            state.derive(self.key_log.as_deref());
        }
    }

    /// Without a new deadline: only for what changes none.
    pub(super) fn get_mut(&mut self, spi: &IkeSpi) -> Option<&mut IkeSa> {
        self.by_spi.get_mut(spi)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&IkeSpi, &IkeSa)> {
        self.by_spi.iter()
    }

    /// Those whose peer is authenticated.
    pub(super) fn all_established(&self) -> impl Iterator<Item = (IkeSpi, &Established)> {
        self.by_spi.iter().filter_map(|(spi, sa)| match sa {
            IkeSa::Established(state) => Some((*spi, &**state)),
            _ => None,
        })
    }

    pub(super) fn established(&self, spi: &IkeSpi) -> Option<&Established> {
        match self.by_spi.get(spi) {
            Some(IkeSa::Established(state)) => Some(state),
            _ => None,
        }
    }

    /// The same, if it serves.
    pub(super) fn active(&self, spi: &IkeSpi) -> Option<&Established> {
        self.established(spi).filter(|state| state.sa().is_active())
    }

    /// Whether we are negotiating it as its initiator.
    pub(super) fn is_being_negotiated(&self, spi: &IkeSpi) -> bool {
        matches!(self.by_spi.get(spi), Some(IkeSa::InitSent(_) | IkeSa::AuthSent(_)))
    }

    /// Takes one in, or back.
    pub(super) fn insert(&mut self, spi: IkeSpi, sa: IkeSa) {
        self.timers.set(Timer::IkeSa(spi), sa.deadline());
        self.by_spi.insert(spi, sa);
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, spi: IkeSpi) -> Option<IkeSa> {
        self.timers.set(Timer::IkeSa(spi), None);
        self.by_spi.remove(&spi)
    }

    #[cfg(test)]
    pub(super) fn all(&self) -> &HashMap<IkeSpi, IkeSa> {
        &self.by_spi
    }

    #[cfg(test)]
    pub(super) fn all_mut(&mut self) -> &mut HashMap<IkeSpi, IkeSa> {
        &mut self.by_spi
    }

    /// Drops all at once.
    pub(super) fn clear(&mut self) {
        self.by_spi.clear();
        self.timers = Timers::default();
    }

    /// Runs a handler of one IKE SA. One that has ended and whose peer may repeat its last request lingers.
    pub(super) fn handle(
        &mut self,
        spi: IkeSpi,
        now: Instant,
        handler: impl FnOnce(IkeSa, &mut Context<'_>) -> Result<IkeSa, Ended>,
    ) -> Option<Handled> {
        let sa = self.by_spi.remove(&spi)?;
        let before = Before::of(&sa);
        let mut cx = self.context(now);
        let after = handler(sa, &mut cx).and_then(|sa| sa.unless_broken(&mut cx));
        let (successors, guests) = (Vec::new(), Vec::new());
        let renegotiate = std::mem::take(&mut self.outbox.renegotiate);
        let answers = std::mem::take(&mut self.outbox.answers);
        let mut handled = Handled { before, end: None, established: false, successors, guests, renegotiate, answers };
        match after {
            Ok(mut sa) => {
                handled.established = matches!(sa, IkeSa::Established(_)) && handled.before.association.is_none();
                handled.successors = sa.take_successors();
                handled.guests = sa.guests();
                self.insert(spi, sa);
            }
            Err(mut ended) => {
                handled.successors = std::mem::take(&mut ended.successors);
                match ended.channel.take() {
                    Some(channel) => {
                        let lingering = Lingering::new(*channel, handled.before.half_open.take(), now);
                        self.insert(spi, IkeSa::Lingering(Box::new(lingering)));
                    }
                    None => self.timers.set(Timer::IkeSa(spi), None),
                }
                handled.end = Some(ended);
            }
        }
        if (handled.established || handled.end.is_some())
            && let Some((initiator, source)) = handled.before.half_open
        {
            self.half_open.remove(initiator, source);
        }
        Some(handled)
    }
}

impl Before {
    fn of(sa: &IkeSa) -> Self {
        Self {
            connection: sa.connection().cloned(),
            association: sa.association().cloned(),
            guests: sa.guests(),
            half_open: match sa {
                IkeSa::AwaitingAuth(state) => Some((state.initiator_spi(), state.source())),
                IkeSa::Lingering(state) => state.half_open,
                _ => None,
            },
            negotiating: match sa {
                IkeSa::InitSent(state) => Some(state.path().peer.ip()),
                IkeSa::AuthSent(state) => Some(state.path().peer.ip()),
                _ => None,
            },
        }
    }
}
