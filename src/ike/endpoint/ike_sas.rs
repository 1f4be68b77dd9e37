//! Every IKE SA of the endpoint, found by its SPI, with what its handlers need.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::start_limit::Addresses;
use super::timers::{Timer, Timers};
use crate::crypto::{Entropy, Secret};
#[cfg(test)]
use crate::ike::association::looks;
use crate::ike::association::{Association, Associations};
use crate::ike::budget::{Budget, Unprotected};
use crate::ike::config::{Config, Connection};
use crate::ike::context::{Context, InboundSpis, Outbox};
use crate::ike::directory::Directory;
use crate::ike::ended::Ended;
use crate::ike::event::{Deadline, Event, Output, Path, Why};
use crate::ike::exchange::rekey::RekeyIke;
use crate::ike::ext::table;
use crate::ike::half_open::HalfOpen;
use crate::ike::identity::expected_id;
use crate::ike::key_log::KeyLog;
use crate::ike::source::Asker;
use crate::ike::state::established::Established;
use crate::ike::state::{IkeSa, Lingering};
use crate::ike::successor::Successor;
use crate::wire::ike::{Identification, IkeSpi};

/// Places of the table that need not be in use.
const MOST_IDLE_PLACES: usize = 1024;

/// The IKE SAs by the SPI that we chose.
pub(super) struct IkeSaTable {
    by_spi: HashMap<IkeSpi, IkeSa>,
    /// Those that are being rekeyed at our request, by our SPIs of what comes of it.
    rekeying: BTreeMap<IkeSpi, IkeSpi>,
    /// Those that wait for an answer, by the peer's address.
    awaiting: BTreeSet<(IpAddr, IkeSpi)>,
    /// Those that serve, or are being authenticated by us, by a hash of the identities that they are between.
    between: BTreeSet<(u64, IkeSpi)>,
    pub(super) half_open: HalfOpen,
    pub(super) budget: Budget,
    pub(super) timers: Timers,
    /// The limits; the connections are in the directory.
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
    /// We negotiated it as its initiator.
    pub(super) negotiating: bool,
    /// Between which addresses we asked, or could ask, something.
    pub(super) addresses: Option<Addresses>,
    half_open: Option<(IkeSpi, SocketAddr)>,
}

impl IkeSaTable {
    /// Without any.
    pub(super) fn new(config: Arc<Config>, mut entropy: Box<dyn Entropy>, now: Instant) -> Self {
        Self {
            by_spi: HashMap::new(),
            rekeying: BTreeMap::new(),
            awaiting: BTreeSet::new(),
            between: BTreeSet::new(),
            half_open: HalfOpen::default(),
            budget: Budget::new(&mut *entropy, now),
            timers: Timers::default(),
            directory: Directory::new(table::wanted),
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
            budget: &mut self.budget,
            key_log: self.key_log.as_deref(),
            token_secret: self.token_secret.as_ref(),
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        self.outbox.push(Output::Event(event));
    }

    /// Whether a datagram in the clear that came on this path may cause what it asks for.
    pub(super) fn allows(&mut self, kind: Unprotected, path: Path, now: Instant) -> bool {
        let asker = Asker::new(path, &self.directory.candidates(&path));
        self.budget.unprotected(kind, asker, now)
    }

    /// The next deadline of all.
    pub(super) fn next_deadline(&self) -> Option<Deadline> {
        let left_out =
            self.budget.left_out().map(|left_out| Deadline { at: left_out.due(), why: Why::FailuresLeftOut });
        self.timers.next().into_iter().chain(left_out).min_by_key(|deadline| deadline.at)
    }

    pub(super) fn get(&self, spi: &IkeSpi) -> Option<&IkeSa> {
        #[cfg(test)]
        looks::count(1);
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
        let all = self.by_spi.iter();
        #[cfg(test)]
        let all = all.inspect(|_| looks::count(1));
        all
    }

    /// Those that wait for an answer of any peer.
    pub(super) fn awaiting(&self) -> impl Iterator<Item = IkeSpi> {
        self.awaiting.iter().map(|(_, spi)| *spi)
    }

    /// Those that wait for an answer of the peer at this address.
    pub(super) fn awaiting_from(&self, peer: IpAddr) -> impl Iterator<Item = IkeSpi> {
        let of_peer = self.awaiting.range((peer, IkeSpi::ZERO)..).take_while(move |(of, _)| *of == peer);
        of_peer.map(|(_, spi)| *spi)
    }

    /// Whether one waits for an answer.
    pub(super) fn is_awaiting(&self, spi: &IkeSpi) -> bool {
        self.get(spi).is_some_and(|sa| sa.awaited().is_some())
    }

    /// Between which addresses an IKE SA is that we ask something on, or could.
    pub(super) fn addresses(&self, spi: &IkeSpi) -> Option<Addresses> {
        self.get(spi).and_then(addresses)
    }

    /// Whether the path of an IKE SA that serves is silent.
    pub(super) fn is_silent(&self, spi: &IkeSpi) -> bool {
        self.active(spi).is_some_and(|state| state.sa().liveness().is_silent())
    }

    /// Whether one serves between these identities, or is being authenticated by us.
    pub(super) fn any_between(&self, local: &Identification, peer: &Identification) -> bool {
        let identities = self.associations.identities(local, peer);
        self.between.range((identities, IkeSpi::ZERO)..).next().is_some_and(|(between, _)| *between == identities)
    }

    /// Between which identities one serves, or is being authenticated by us.
    fn identities(&self, sa: &IkeSa) -> Option<u64> {
        match sa {
            IkeSa::Established(state) if state.sa().is_active() => Some(state.sa().association().identities()),
            IkeSa::AuthSent(state) => {
                let connection = state.connection();
                Some(self.associations.identities(&connection.local_id, &expected_id(connection)?))
            }
            _ => None,
        }
    }

    /// The one that is being rekeyed at our request by an IKE SA with this SPI of ours, with the exchange.
    pub(super) fn rekey_making(&self, made: IkeSpi) -> Option<(IkeSpi, &RekeyIke)> {
        let spi = self.rekeying.get(&made)?;
        Some((*spi, self.established(spi)?.agenda().rekey()?))
    }

    pub(super) fn established(&self, spi: &IkeSpi) -> Option<&Established> {
        match self.get(spi) {
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
        if let Some(rekey) = rekey(&sa) {
            self.rekeying.extend(rekey.makes().map(|made| (made, spi)));
        }
        if let Some(peer) = sa.awaited() {
            self.awaiting.insert((peer, spi));
        }
        self.between.extend(self.identities(&sa).map(|identities| (identities, spi)));
        self.by_spi.insert(spi, sa);
    }

    /// Takes one out.
    pub(super) fn remove(&mut self, spi: IkeSpi) -> Option<IkeSa> {
        self.timers.set(Timer::IkeSa(spi), None);
        self.take(&spi)
    }

    /// Takes one out that comes back or has no deadline any more.
    fn take(&mut self, spi: &IkeSpi) -> Option<IkeSa> {
        let sa = self.by_spi.remove(spi);
        for made in sa.as_ref().and_then(rekey).into_iter().flat_map(RekeyIke::makes) {
            self.rekeying.remove(&made);
        }
        if let Some(peer) = sa.as_ref().and_then(IkeSa::awaited) {
            self.awaiting.remove(&(peer, *spi));
        }
        if let Some(identities) = sa.as_ref().and_then(|sa| self.identities(sa)) {
            self.between.remove(&(identities, *spi));
        }
        // After a flood.
        if self.by_spi.capacity() > MOST_IDLE_PLACES + 4 * self.by_spi.len() {
            self.by_spi.shrink_to(2 * self.by_spi.len());
        }
        sa
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
        self.rekeying.clear();
        self.awaiting.clear();
        self.between.clear();
        self.timers = Timers::default();
    }

    /// Runs a handler of one IKE SA. One that has ended and whose peer may repeat its last request lingers.
    pub(super) fn handle(
        &mut self,
        spi: IkeSpi,
        now: Instant,
        handler: impl FnOnce(IkeSa, &mut Context<'_>) -> Result<IkeSa, Ended>,
    ) -> Option<Handled> {
        let sa = self.take(&spi)?;
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
                if let IkeSa::AwaitingAuth(state) = &sa {
                    self.half_open.keeps(state.initiator_spi(), state.source(), state.kept_bytes());
                }
                self.insert(spi, sa);
            }
            Err(mut ended) => {
                handled.successors = std::mem::take(&mut ended.successors);
                match ended.channel.take() {
                    Some(channel) => {
                        let half_open = handled.before.half_open.take();
                        let lingering = Lingering::new(*channel, half_open, now);
                        if let Some((initiator, source)) = half_open {
                            self.half_open.keeps(initiator, source, lingering.kept_bytes());
                        }
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
            let charge = self.half_open.remove(initiator, source);
            charge.filter(|_| handled.established).into_iter().for_each(|charge| self.budget.refund(charge));
        }
        Some(handled)
    }
}

/// The rekey of an IKE SA that we have asked for.
fn rekey(sa: &IkeSa) -> Option<&RekeyIke> {
    if let IkeSa::Established(state) = sa { state.agenda().rekey() } else { None }
}

/// Between which addresses an IKE SA is that we ask something on, or could.
fn addresses(sa: &IkeSa) -> Option<Addresses> {
    let (connection, path) = match sa {
        IkeSa::InitSent(state) => (state.connection(), state.path()),
        IkeSa::AuthSent(state) => (state.connection(), state.path()),
        IkeSa::Established(state) => (state.sa().connection(), state.sa().channel().path()),
        IkeSa::AwaitingAuth(_) | IkeSa::Lingering(_) => return None,
    };
    Some(Addresses::of(connection, path.peer.ip()))
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
            negotiating: matches!(sa, IkeSa::InitSent(_) | IkeSa::AuthSent(_)),
            addresses: addresses(sa),
        }
    }
}
