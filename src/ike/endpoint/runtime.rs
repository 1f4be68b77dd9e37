//! What the endpoint keeps of a configured connection.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ike_sas::IkeSaTable;
use crate::ike::association::IkeSas;
use crate::ike::config::{Connection, Place, Start};
use crate::ike::failure::Failure;
use crate::ike::sa::Cause;
use crate::ike::wanted::WantedChild;
use crate::wire::ike::IkeSpi;

/// Waits between attempts, before jitter: after refusals, which another attempt alone does not cure, doubled each time up to a
/// limit;
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT_AFTER_REFUSAL: Duration = Duration::from_secs(60);
/// after silence short, because the attempt has waited for long enough.
const WAIT_AFTER_SILENCE: Duration = Duration::from_millis(500);

/// Restarts of the peer that are no further apart are counted together.
const RESTARTS_APART: Duration = Duration::from_secs(120);

/// An attempt beside an IKE SA whose path is silent, each by our SPI.
#[derive(Clone, Copy)]
pub(super) struct Beside {
    pub(super) attempt: IkeSpi,
    pub(super) silent: IkeSpi,
}

/// What the endpoint keeps of a connection.
pub(super) struct Runtime {
    pub(super) connection: Arc<Connection>,
    /// Its place in the directory.
    pub(super) place: Place,
    /// To be up, and to be tried again when it is not.
    pub(super) wanted: bool,
    /// Our SPIs of its IKE SAs, those that are being negotiated included.
    pub(super) ike_sas: IkeSas,
    /// Our SPIs of other connections' IKE SAs that carry pairs of this one.
    pub(super) hosts: Vec<IkeSpi>,
    /// How often the peer has refused since it was last up, or was asked for anew.
    pub(super) refusals: u32,
    /// When the peer was last found to have restarted, and how often it was before that, in a row.
    restarts: Option<(Instant, u32)>,
    /// Not tried before.
    pub(super) next_attempt: Option<Instant>,
    pub(super) last_error: Option<Failure>,
    /// What is attempted beside an IKE SA whose path is silent.
    pub(super) beside: Option<Beside>,
    /// What packets ask for as long as it waits for its turn.
    pub(super) acquired: Vec<WantedChild>,
    /// Has an IKE SA, or pairs in another connection's.
    pub(super) up: bool,
}

impl Runtime {
    /// Without an IKE SA.
    pub(super) fn new(place: Place, connection: Arc<Connection>) -> Self {
        Self {
            wanted: connection.start == Start::Now,
            connection,
            place,
            ike_sas: IkeSas::default(),
            hosts: Vec::new(),
            refusals: 0,
            restarts: None,
            next_attempt: None,
            last_error: None,
            beside: None,
            acquired: Vec::new(),
            up: false,
        }
    }

    /// How long to wait before the next attempt, after an IKE SA or an attempt (not `established`) has ended for this cause.
    /// A connection that was up is tried again soon.
    pub(super) fn retry_wait(&mut self, established: bool, cause: &Cause, now: Instant) -> Duration {
        let doubled = |times: u32, limit| FIRST_WAIT.saturating_mul(1 << times.min(10)).min(limit);
        if *cause == Cause::Restarted {
            let in_a_row = self.restarts.filter(|(last, _)| now < *last + RESTARTS_APART);
            let before = in_a_row.map_or(0, |(_, before)| before.saturating_add(1));
            self.restarts = Some((now, before));
            // That the peer is there again is proven. One that says so again and again is not.
            return before.checked_sub(1).map_or(Duration::ZERO, |times| doubled(times, LONGEST_WAIT_AFTER_REFUSAL));
        }
        if established && *cause != Cause::Refused {
            return FIRST_WAIT;
        }
        match cause {
            Cause::Refused => {
                self.refusals = self.refusals.saturating_add(1);
                doubled(self.refusals, LONGEST_WAIT_AFTER_REFUSAL)
            }
            _ => WAIT_AFTER_SILENCE,
        }
    }

    /// Its children of which no other connection's IKE SA carries a pair.
    pub(super) fn not_in_hosts(&self, ike_sas: &IkeSaTable) -> Vec<Arc<str>> {
        let hosts = self.hosts.iter().filter_map(|spi| ike_sas.established(spi));
        let guests = hosts.flat_map(|state| state.children().guests());
        let own = guests.filter(|pair| Arc::ptr_eq(pair.association.connection(), &self.connection));
        let there: Vec<&Arc<str>> = own.map(|pair| &pair.child).collect();
        let children = self.connection.children.iter().map(|child| &child.name);
        children.filter(|name| !there.contains(name)).cloned().collect()
    }
}
