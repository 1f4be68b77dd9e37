//! What an established IKE SA is by itself: its channel and keys, whose it is, how long it lives and whether it serves.
//! Its Child SAs are in [`super::children`], what it is about in [`super::agenda`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::association::Association;
use super::channel::{Channel, IkeSaKeys};
use super::child::Transport;
use super::config::Connection;
use super::context::Context;
use super::event::{Deadline, Path, Why};
use super::ext::negotiated::Negotiated;
use super::ext::table::{self, At, Point, Voice};
use super::failure::Failure;
use super::keys::{ChildKeySource, Nonces, Skeyseed, Spis};
use super::liveness::{Heard, Liveness};
use super::message::Payloads;
use super::negotiate::IkeAlgorithms;
use super::status::IkeSaStatus;
use super::window::Window;
use crate::crypto::{Secret, WrongKeyLength};
use crate::wire::ike::Payload;

/// Why an IKE SA is no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// The peer did not answer.
    NoAnswer,
    /// The peer refused, or did what it must not do: trying again at once would end the same way.
    Refused,
    /// The peer closed it.
    DeletedByPeer,
    /// We closed it because somebody asked for that, or because it was superfluous.
    Closed,
    /// The peer has proven that it does not know it any more.
    Restarted,
    /// Its life is over.
    Expired,
}

/// Whether the IKE SA serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    Active,
    /// Another IKE SA has taken its place, and the peer is to delete it until then.
    Passive(Instant),
    /// We are deleting it.
    Closing(Cause),
}

/// What the states after key exchange have in common.
pub(super) struct Secured {
    pub(super) channel: Channel,
    pub(super) child_key_source: ChildKeySource,
    pub(super) algorithms: IkeAlgorithms,
    pub(super) negotiated: Negotiated,
}

impl Secured {
    /// What the extensions of its connection add to a message of ours.
    pub(super) fn say(&mut self, connection: &Connection, point: Point, cx: &mut Context<'_>) -> Vec<Payload> {
        let voice = Voice { connection, entropy: cx.entropy, token_secret: cx.token_secret };
        let at = self.at(point);
        table::say(&table::rows_of(connection), at, voice, &mut self.negotiated)
    }

    /// Lets the extensions of its connection read a message of the peer's.
    pub(super) fn hear(&mut self, connection: &Connection, point: Point, payloads: &Payloads) {
        let at = self.at(point);
        table::hear(&table::rows_of(connection), at, payloads, &mut self.negotiated);
    }

    /// Lets time pass for the extensions of its connection.
    pub(super) fn timeout(&mut self, connection: &Connection, cx: &mut Context<'_>) {
        table::timeout(connection, self.channel.path(), &mut self.negotiated, cx);
    }

    fn at(&self, point: Point) -> At {
        let channel = &self.channel;
        At { point, spis: channel.spis(), path: channel.path(), initiator: channel.is_initiator() }
    }
}

/// What becomes an established IKE SA.
pub(super) struct Establishing {
    pub(super) association: Arc<Association>,
    pub(super) secured: Secured,
}

/// An IKE SA whose peer is authenticated.
pub(super) struct Sa {
    association: Arc<Association>,
    secured: Secured,
    phase: Phase,
    lifetime: Lifetime,
    liveness: Liveness,
    /// The peer asked for this IKE SA in a rekey and has not used it: our answer may not have arrived.
    unconfirmed: bool,
}

/// How long an IKE SA lives, and when it is to be rekeyed.
#[derive(Debug)]
pub(super) struct Lifetime {
    born: Instant,
    rekey_at: Instant,
    expires_at: Instant,
    /// Its message IDs run out, which has made its rekey due.
    runs_out: bool,
}

impl Lifetime {
    fn new(lifetime: Duration, cx: &mut Context<'_>) -> Self {
        let rekey_at = cx.now + cx.jitter(lifetime, 80, 90);
        Self { born: cx.now, rekey_at, expires_at: cx.now + lifetime, runs_out: false }
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.expires_at <= now
    }

    /// Whether to rekey it now; it is asked for once.
    pub(super) fn takes_rekey(&mut self, now: Instant) -> bool {
        let due = self.rekey_at <= now;
        if due {
            self.rekey_at = self.expires_at;
        }
        due
    }

    /// Message IDs that run out make the rekey due, once.
    pub(super) fn message_ids_run_out(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.runs_out, true) {
            self.rekey_at = self.rekey_at.min(now);
        }
    }

    pub(super) fn set_rekey_at(&mut self, at: Instant) {
        self.rekey_at = at.min(self.expires_at);
    }
}

impl Sa {
    pub(super) fn new(establishing: Establishing, cx: &mut Context<'_>) -> Self {
        let Establishing { association, mut secured } = establishing;
        table::begin(association.connection(), &mut secured.negotiated, cx.now);
        secured.channel.set_fragments(secured.negotiated.fragments, true);
        let ike_lifetime = association.connection().ike_lifetime;
        Self {
            lifetime: Lifetime::new(ike_lifetime, cx),
            association,
            secured,
            phase: Phase::Active,
            liveness: Liveness::new(cx.now),
            unconfirmed: false,
        }
    }

    /// The IKE SA that comes of a rekey of this one: with the same peer, keys of its own, and message IDs that start at 0
    /// at both ends (RFC 7296 2.18).
    ///
    /// # Errors
    /// No keys can be derived.
    pub(super) fn rekeyed(
        &self,
        algorithms: IkeAlgorithms,
        nonces: Nonces<'_>,
        spis: Spis,
        shared: &Secret,
        initiator: bool,
        cx: &mut Context<'_>,
    ) -> Result<Self, WrongKeyLength> {
        let keys = Skeyseed::rekeyed(self.child_key_source(), nonces, shared).expand(
            algorithms.prf,
            algorithms.suite,
            nonces,
            spis,
            cx.key_log,
        )?;
        // The peer is authenticated by the old IKE SA; SK_pi and SK_pr have no use.
        let (channel_keys, child_key_source, _) = IkeSaKeys::of(keys, initiator);
        let (path, fragments) = (self.channel().path(), self.secured.negotiated.fragments);
        let channel = Channel::new(spis, initiator, channel_keys, Window::fresh(), path, fragments);
        let mut negotiated = self.secured.negotiated.clone();
        table::renew(&mut negotiated);
        let secured = Secured { channel, child_key_source, algorithms, negotiated };
        let establishing = Establishing { association: self.association.clone(), secured };
        Ok(Self { unconfirmed: !initiator, ..Self::new(establishing, cx) })
    }

    pub(super) fn connection(&self) -> &Arc<Connection> {
        self.association.connection()
    }

    /// Whose it is.
    pub(super) fn association(&self) -> &Arc<Association> {
        &self.association
    }

    pub(super) fn channel(&self) -> &Channel {
        &self.secured.channel
    }

    pub(super) fn channel_mut(&mut self) -> &mut Channel {
        &mut self.secured.channel
    }

    pub(super) fn into_channel(self) -> Channel {
        self.secured.channel
    }

    pub(super) fn child_key_source(&self) -> &ChildKeySource {
        &self.secured.child_key_source
    }

    pub(super) fn algorithms(&self) -> IkeAlgorithms {
        self.secured.algorithms
    }

    /// How ESP goes to the peer, on a path of this IKE SA.
    pub(super) fn transport(&self, path: Path, cx: &Context<'_>) -> Transport {
        Transport::new(path, self.secured.negotiated.nat.encapsulate, cx.config.nat_port)
    }

    // Whether it serves.

    pub(super) fn phase(&self) -> &Phase {
        &self.phase
    }

    pub(super) fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        self.phase = phase;
    }

    /// Whether the peer may not know this IKE SA yet: our answer to its rekey may not have arrived.
    pub(super) fn is_unconfirmed(&self) -> bool {
        self.unconfirmed
    }

    pub(super) fn liveness(&self) -> &Liveness {
        &self.liveness
    }

    pub(super) fn liveness_mut(&mut self) -> &mut Liveness {
        &mut self.liveness
    }

    /// A message of the peer's was verified.
    pub(super) fn is_known_to_peer(&mut self) {
        self.unconfirmed = false;
    }

    /// The peer gave an authenticated sign of life at `at`. Says whether its path answers that was silent.
    pub(super) fn heard_at(&mut self, at: Instant, now: Instant) -> bool {
        let heard = self.liveness.heard_at(at);
        // Whoever deletes an IKE SA does not wait for a peer that talks of other things.
        if heard != Heard::Known && !matches!(self.phase, Phase::Closing(_)) {
            self.secured.channel.window_mut().heard(now);
        }
        heard == Heard::Answers
    }

    /// The peer has sent on this path. Says whether it is followed there from another one.
    pub(super) fn follow(&mut self, path: Path, now: Instant) -> bool {
        let Secured { channel, negotiated, .. } = &mut self.secured;
        let follows = table::follows(channel.path(), path, negotiated);
        if follows {
            channel.set_path(path);
            channel.window_mut().heard(now);
        }
        follows
    }

    // Its extensions.

    /// What they have negotiated.
    pub(super) fn negotiated(&self) -> &Negotiated {
        &self.secured.negotiated
    }

    /// The connection that switches them on and off, and what they work on.
    pub(super) fn extensions(&mut self) -> (&Connection, &mut Secured) {
        (self.association.connection(), &mut self.secured)
    }

    // Its life.

    pub(super) fn lifetime_mut(&mut self) -> &mut Lifetime {
        &mut self.lifetime
    }

    /// When something is due while it is active.
    pub(super) fn deadlines(&self) -> impl Iterator<Item = Deadline> {
        let at = |at: Instant, why: Why| Some(Deadline { at, why });
        [
            at(self.lifetime.rekey_at, Why::RekeyIke),
            at(self.lifetime.expires_at, Why::ExpireIke),
            self.liveness.deadline().and_then(|due| at(due, Why::Liveness)),
        ]
        .into_iter()
        .flatten()
        .chain(table::deadlines(&self.secured.negotiated))
    }

    // What others see.

    /// Tells a person what went wrong, as far as that is told of one association.
    pub(super) fn tell(&self, failure: Failure, cx: &mut Context<'_>) {
        cx.failed_of(&self.association, self.channel().path().peer, failure);
    }

    pub(super) fn status(&self) -> IkeSaStatus {
        let Secured { channel, algorithms, negotiated, .. } = &self.secured;
        let spis = channel.spis();
        IkeSaStatus {
            connection: self.connection().name.clone(),
            initiator_spi: spis.initiator,
            responder_spi: spis.responder,
            initiator: channel.is_initiator(),
            algorithms: algorithms.name(),
            established: self.lifetime.born,
            rekey_at: self.lifetime.rekey_at,
            expires_at: self.lifetime.expires_at,
            local_behind_nat: negotiated.nat.local_behind_nat,
            peer_behind_nat: negotiated.nat.peer_behind_nat,
            silent_since: self.liveness.silent_since(),
            extensions: table::names(negotiated),
        }
    }
}
