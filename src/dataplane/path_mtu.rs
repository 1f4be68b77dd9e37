//! Path MTU discovery: the largest outer packet that reaches each peer (RFC 4301 section 8.2, RFC 1191, RFC 8201), and where
//! no ICMP comes, by probing (RFC 8899).
//!
//! ```text
//!  told by a router, or by the own device: in force at once
//!
//!  Rest ── large packets go out ──► Confirm ── answered in time ──► Rest
//!                                      └─ lost twice ──► Down ── the base, or the least, passes ──► Up
//!  Rest ── for so long below the ceiling ─────────────────────────────────────────────────────────► Up
//!                                            Up ── the next step passes, and so on; one is lost twice ──► Rest
//! ```
//!
//! Sizes are those of whole outer IP packets, in bytes. Pure: whoever owns it tells it what happened and carries out the
//! [`Step`]s.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// While large packets go out, the MTU is confirmed this often: a black hole under a stream has to be found while the
/// stream's sender still tries again every few seconds.
const CONFIRM: Duration = Duration::from_secs(2);
/// So many probes of one size have to be lost until it is believed not to pass: one may be lost for any reason.
const LOSSES: u8 = 2;
/// A probe that is not answered at all for so long tells of an IKE SA in trouble, and nothing of sizes.
const UNANSWERED: Duration = Duration::from_secs(12);
/// A path on which not even the smallest probes are answered in time is left alone for so long.
const PAUSE: Duration = Duration::from_secs(60);
/// After this, a search that began downwards puts in force what it has found so far: packets are being lost meanwhile.
const HASTE: Duration = Duration::from_millis(250);
/// What nearly every path takes (BASE_PLPMTU of RFC 8899 section 5.1.2, and IPv6's least).
const BASE: u16 = 1280;
/// What a search upwards tries: the MTUs of links, and what encapsulations leave of Ethernet's 1500 bytes.
const STEPS: [u16; 28] = [
    576, 768, 1006, 1152, 1280, 1320, 1360, 1380, 1400, 1420, 1430, 1440, 1450, 1454, 1460, 1468, 1472, 1476, 1480,
    1488, 1492, 1500, 2002, 4352, 8166, 9000, 17_914, 32_000,
];

/// The least MTU of a path (RFC 791 section 3.1, RFC 8200 section 5). Who speaks of less lies or errs.
pub fn least(peer: IpAddr) -> u16 {
    if peer.is_ipv4() { 576 } else { 1280 }
}

/// How an MTU came to be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Learned {
    /// The own device takes no more, or the configuration allows no more.
    Device,
    /// A router said so.
    Router,
    /// Probes of this size were answered.
    Probe,
}

impl Learned {
    /// For a person: "… 1400 bytes, " and this.
    pub fn text(self) -> &'static str {
        match self {
            Self::Device => "as the device and the configuration allow",
            Self::Router => "as a router said",
            Self::Probe => "as probes show",
        }
    }
}

/// What whoever owns the table has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send the peer a probe, a packet of this size that may not be fragmented, and tell [`PathMtus::probed`].
    Probe {
        /// Which peer.
        peer: IpAddr,
        /// Of the whole outer packet.
        size: u16,
    },
    /// Find out what the device towards the peer takes, and tell [`PathMtus::device`].
    AskDevice {
        /// Which peer.
        peer: IpAddr,
    },
    /// The MTU changed: whoever seals packets has to know.
    Change {
        /// Which peer.
        peer: IpAddr,
        /// Until now.
        old: u16,
        /// From now on.
        mtu: u16,
        /// How it was learned.
        learned: Learned,
    },
}

/// The paths to all peers, by address.
#[derive(Debug)]
pub struct PathMtus {
    settings: Settings,
    paths: HashMap<IpAddr, Path>,
    /// Paths that something happened to.
    ready: BTreeSet<IpAddr>,
    steps: VecDeque<Step>,
}

#[derive(Debug, Clone, Copy)]
struct Settings {
    /// No path is believed to take more.
    configured: u16,
    /// How long a path stays below that before more is tried.
    raise: Duration,
}

#[derive(Debug)]
struct Path {
    peer: IpAddr,
    /// In force.
    mtu: u16,
    learned: Learned,
    /// What the own device takes, and the configuration allows.
    ceiling: u16,
    /// Pairs of SAs that use the path.
    users: usize,
    /// When packets above the least MTU went out last.
    large: Option<Instant>,
    /// When the last search ended, or its result is no longer to be doubted.
    rested: Option<Instant>,
    search: Search,
    /// The probe that is under way, and since when.
    probe: Option<(u16, Instant)>,
    /// Probes of this size lost so far.
    lost: u8,
    /// When to try more.
    raise_at: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Search {
    Rest,
    /// Does the MTU in force still pass?
    Confirm,
    /// It does not. Does this?
    Down(u16),
    Up(Up),
}

/// Does more pass than what does?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Up {
    /// This passes.
    best: u16,
    /// What was asked for when it passed: a few bytes more than `best` where IKE's cipher has blocks.
    asked: u16,
    /// A router said that this is the most that passes.
    hint: Option<u16>,
    /// Not in force before.
    hold: Option<Instant>,
}

impl PathMtus {
    /// Without paths. None is believed to take more than `configured`. One that takes more again is found out within `raise`.
    pub fn new(configured: u16, raise: Duration) -> Self {
        // The search takes its time too.
        let settings = Settings { configured, raise: raise.mul_f64(0.9) };
        Self { settings, paths: HashMap::new(), ready: BTreeSet::new(), steps: VecDeque::new() }
    }

    /// Another pair of SAs uses the path to a peer. A new path begins with what its `device` takes.
    pub fn join(&mut self, peer: IpAddr, device: impl FnOnce() -> u16, now: Instant) {
        let Settings { configured, raise } = self.settings;
        let path = self.paths.entry(peer).or_insert_with(|| {
            let ceiling = device().min(configured).max(least(peer));
            Path {
                peer,
                mtu: ceiling,
                learned: Learned::Device,
                ceiling,
                users: 0,
                large: None,
                rested: None,
                search: Search::Rest,
                probe: None,
                lost: 0,
                raise_at: now + raise,
            }
        });
        path.users += 1;
    }

    /// A pair uses it no longer. What was learned is kept for a while.
    pub fn leave(&mut self, peer: IpAddr) {
        if let Some(path) = self.paths.get_mut(&peer) {
            path.users = path.users.saturating_sub(1);
        }
    }

    /// The MTU in force towards a peer.
    pub fn mtu(&self, peer: IpAddr) -> u16 {
        self.paths.get(&peer).map_or(self.settings.configured, |path| path.mtu)
    }

    /// Packets above the least MTU went out, the last of them at this time.
    pub fn large_sent(&mut self, peer: IpAddr, at: Instant) {
        if let Some(path) = self.paths.get_mut(&peer).filter(|path| path.large.is_none_or(|large| large < at)) {
            path.large = Some(at);
            self.ready.insert(peer);
        }
    }

    /// A router says that no more than this passes, about a packet that was certainly ours. Less than the least MTU says
    /// nothing; that what is in force passes is no news.
    pub fn told(&mut self, peer: IpAddr, mtu: u16, now: Instant) {
        let Some(path) = self.paths.get_mut(&peer).filter(|_| mtu >= least(peer)) else { return };
        if let Search::Up(up) = &mut path.search
            && up.best < mtu
        {
            up.hint = Some(mtu);
        }
        if mtu < path.mtu {
            path.settle(mtu, Learned::Router, now + self.settings.raise, &mut self.steps);
            // It is confirmed at once if large packets go on.
            path.rested = None;
            self.ready.insert(peer);
        }
    }

    /// The own device towards a peer takes packets of this size.
    pub fn device(&mut self, peer: IpAddr, mtu: u16, now: Instant) {
        let Some(path) = self.paths.get_mut(&peer) else { return };
        path.ceiling = mtu.min(self.settings.configured).max(least(peer));
        if path.ceiling < path.mtu {
            path.settle(path.ceiling, Learned::Device, now + self.settings.raise, &mut self.steps);
        }
        self.ready.insert(peer);
    }

    /// The kernel refused packets as larger than their device takes. They were for one of the peers that large ones went to.
    pub fn refused(&mut self, now: Instant) {
        let suspects = self.paths.values().filter(|path| path.is_recent(path.large, now));
        self.steps.extend(suspects.map(|path| Step::AskDevice { peer: path.peer }));
    }

    /// What became of a probe: it was `sent` with this size, if IKE's cipher did not allow the one `asked` for, and was
    /// answered in time, before it was repeated without DF, or not.
    pub fn probed(&mut self, peer: IpAddr, asked: u16, sent: u16, in_time: bool, now: Instant) {
        let Some(path) = self.paths.get_mut(&peer) else { return };
        // Not one that was given up, or about a size that is in question no more.
        if path.probe.take_if(|(size, _)| *size == asked).is_none() {
            return;
        }
        self.ready.insert(peer);
        if in_time {
            path.lost = 0;
            path.passed(asked, sent.min(asked), now, self.settings, &mut self.steps);
        } else {
            path.lost += 1;
            if path.lost >= LOSSES {
                path.lost = 0;
                path.failed(now, self.settings, &mut self.steps);
            }
        }
    }

    /// Lets time pass. To be called several times a second.
    pub fn look(&mut self, now: Instant) {
        self.paths.retain(|_, path| path.users > 0 || now < path.raise_at);
        self.ready.extend(self.paths.values().filter(|path| path.is_due(now)).map(|path| path.peer));
    }

    /// The next thing to do. To be called until there is none.
    pub fn next(&mut self, now: Instant) -> Option<Step> {
        while self.steps.is_empty() {
            let peer = self.ready.pop_first()?;
            if let Some(path) = self.paths.get_mut(&peer).filter(|path| path.users > 0) {
                path.advance(now, self.settings, &mut self.steps);
            }
        }
        self.steps.pop_front()
    }
}

impl Path {
    fn is_recent(&self, at: Option<Instant>, now: Instant) -> bool {
        at.is_some_and(|at| now.saturating_duration_since(at) < CONFIRM)
    }

    fn is_unanswered(&self, now: Instant) -> bool {
        self.probe.is_some_and(|(_, since)| now.saturating_duration_since(since) >= UNANSWERED)
    }

    fn is_due(&self, now: Instant) -> bool {
        let held = matches!(self.search, Search::Up(Up { hold: Some(_), .. }));
        self.users > 0 && (held || now >= self.raise_at || self.is_unanswered(now))
    }

    /// Puts an MTU in force.
    fn set(&mut self, mtu: u16, learned: Learned, steps: &mut VecDeque<Step>) {
        let old = std::mem::replace(&mut self.mtu, mtu);
        if old != mtu {
            self.learned = learned;
            steps.push_back(Step::Change { peer: self.peer, old, mtu, learned });
        }
    }

    /// Ends a search with this.
    fn settle(&mut self, mtu: u16, learned: Learned, raise_at: Instant, steps: &mut VecDeque<Step>) {
        (self.search, self.probe, self.lost, self.raise_at) = (Search::Rest, None, 0, raise_at);
        self.set(mtu, learned, steps);
    }

    /// Ends a search that changes nothing. The next one begins no sooner than a while after `until`.
    fn rest(&mut self, until: Instant) {
        (self.search, self.probe, self.lost, self.rested) = (Search::Rest, None, 0, Some(until));
    }

    /// A probe was answered in time.
    fn passed(&mut self, asked: u16, sent: u16, now: Instant, settings: Settings, steps: &mut VecDeque<Step>) {
        match self.search {
            Search::Rest => {}
            Search::Confirm => {
                // Of what a router said, the last few bytes are believed too.
                if sent < self.mtu && self.learned != Learned::Router {
                    self.settle(sent, Learned::Probe, now + settings.raise, steps);
                }
                self.rest(now);
            }
            Search::Down(_) => {
                self.search = Search::Up(Up { best: sent, asked, hint: None, hold: Some(now + HASTE) });
            }
            Search::Up(up) => {
                let best = up.best.max(sent);
                self.search = Search::Up(Up { best, asked, hint: up.hint.filter(|hint| *hint > asked), ..up });
                if up.hold.is_none() {
                    self.set(best, Learned::Probe, steps);
                }
            }
        }
    }

    /// Probes of the size in question were lost.
    fn failed(&mut self, now: Instant, settings: Settings, steps: &mut VecDeque<Step>) {
        let least = least(self.peer);
        match self.search {
            Search::Rest => {}
            Search::Confirm => self.search = Search::Down(if self.mtu > BASE { BASE } else { least }),
            Search::Down(size) if size > least => self.search = Search::Down(least),
            // Not even the least passes, or not in time: sizes are not what is wrong with this path.
            Search::Down(_) => self.rest(now + PAUSE),
            Search::Up(up) => self.climbed(up, now, settings, steps),
        }
    }

    /// Ends a search upwards.
    fn climbed(&mut self, up: Up, now: Instant, settings: Settings, steps: &mut VecDeque<Step>) {
        self.settle(up.best, Learned::Probe, now + settings.raise, steps);
        self.rest(now);
    }

    /// Does what is to be done now.
    fn advance(&mut self, now: Instant, settings: Settings, steps: &mut VecDeque<Step>) {
        if let Search::Up(up) = &mut self.search
            && up.hold.is_some_and(|hold| hold <= now || self.lost > 0)
        {
            let best = up.best;
            up.hold = None;
            self.set(best, Learned::Probe, steps);
        }
        if self.is_unanswered(now) {
            self.rest(now);
        }
        if self.probe.is_some() {
            return;
        }
        if self.search == Search::Rest {
            if now >= self.raise_at {
                self.raise_at = now + settings.raise;
                if self.mtu < settings.configured {
                    self.search = Search::Up(Up { best: self.mtu, asked: self.mtu, hint: None, hold: None });
                    // The search goes on when the device is known.
                    return steps.push_back(Step::AskDevice { peer: self.peer });
                }
            }
            if self.mtu > least(self.peer) && self.is_recent(self.large, now) && !self.is_recent(self.rested, now) {
                self.search = Search::Confirm;
            }
        }
        let size = match self.search {
            Search::Rest => return,
            Search::Confirm => self.mtu,
            Search::Down(size) => size,
            Search::Up(up) => match self.step_above(up) {
                Some(size) => size,
                None => return self.climbed(up, now, settings, steps),
            },
        };
        self.probe = Some((size, now));
        steps.push_back(Step::Probe { peer: self.peer, size });
    }

    /// What to try above what passes.
    fn step_above(&self, up: Up) -> Option<u16> {
        let ceiling = self.ceiling;
        let steps = STEPS.into_iter().filter(|step| *step < ceiling).chain([ceiling]).chain(up.hint);
        steps.filter(|size| *size > up.asked && *size <= ceiling).min()
    }
}

#[cfg(test)]
mod tests;
