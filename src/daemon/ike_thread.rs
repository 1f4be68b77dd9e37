//! The IKE thread: the endpoint, its timers, the port 500 sockets, and a handle of port 4500 to send on.

mod intake;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::{debug, trace, warn};

use super::connections::Change;
use super::ike_arrivals::Arrivals;
use super::request_queue::RequestQueue;
use super::send_failures::SendFailures;
use super::wiring::{GonePairs, Pair, Wiring};
use crate::dataplane::acquire::Acquire;
use crate::dataplane::drop::DropReason;
use crate::dataplane::ike_queue::IkeQueueReader;
use crate::ike::{Command, ConnectionStatus, Deadline, Endpoint, Event, Output, Path, Transmit, Why};
use crate::io::esp_sockets::NatTraversalSender;
use crate::io::icmp::IcmpSocket;
use crate::io::memory;
use crate::io::message_batch::ReceiveBatch;
use crate::io::send_refusals::Refusal;
use crate::io::udp::UdpSocket;
use crate::io::wake::{Waker, wait_readable};

/// How often the facts of the SAs are looked at: a peer's first packet on a new SA lets us send on it.
const LOOK: Duration = Duration::from_millis(100);
/// Messages of routers that one round takes, so that they do not starve the timers.
const ROUND: usize = 256;
/// A snapshot of thousands of connections takes a while, so snapshots get one part in this many of the time.
const SNAPSHOT_SHARE: u32 = 20;
/// How long a snapshot that still holds is given to further askers; then it is forgotten, as it takes as much memory as
/// the SAs do.
const SNAPSHOT_KEPT: Duration = Duration::from_secs(1);
/// The longest that a round waits: the watchdog looks at the heartbeat.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The longest that a round waits while somebody has no room for what is to be handed on.
const BEHIND: Duration = Duration::from_millis(2);
/// After so many changes of SAs, or requests of who was not known, memory is given back to the system,
const CHANGES_TO_TIDY: usize = 256;
/// once nothing has changed for this long,
const QUIET_TO_TIDY: Duration = Duration::from_secs(3);
/// or after this time, if something always does.
const LONGEST_UNTIDY: Duration = Duration::from_secs(10);
/// Half-open IKE SAs time out many at a time, so a time that some did counts for so many changes.
const HALF_OPEN_CHANGES: usize = 16;

/// What the control task asks of the IKE thread.
#[derive(Debug)]
pub enum Request {
    /// What is different about the connections. Those that it does not name keep their SAs.
    Configure(Change),
    /// A command for the endpoint.
    Command(Command),
    /// What IKE and the data path look like, not older than the request.
    Snapshot(oneshot::Sender<Arc<IkeSnapshot>>),
    /// The same of one connection: nothing of the others is looked at. The answer is empty if there is none of this name.
    SnapshotOf(Arc<str>, oneshot::Sender<Arc<IkeSnapshot>>),
    /// Ends this thread and the data threads.
    Stop,
}

/// What IKE and the data path look like, for status.
#[derive(Debug, Default)]
pub struct IkeSnapshot {
    /// Every configured connection, as IKE sees it.
    pub connections: Vec<ConnectionStatus>,
    /// By inbound SPI.
    pub pairs: HashMap<u32, Pair>,
    /// By the name of the connection, its pairs that are gone.
    pub gone: HashMap<Arc<str>, GonePairs>,
    /// Datagrams and requests that IKE or its sockets dropped since the start, by the reason's name.
    pub discards: Vec<(String, u64)>,
    /// What the kernel refuses to send at the moment, by peer.
    pub refused: BTreeMap<IpAddr, String>,
}

/// The sockets that IKE sends on; it receives on those of port 500 only.
pub struct Sockets {
    /// Port 500, IPv4 and, where the machine has it, IPv6.
    pub ike: Vec<UdpSocket>,
    /// Port 4500.
    pub nat: NatTraversalSender,
    /// What routers say, of each family.
    pub icmp: Vec<IcmpSocket>,
}

impl Sockets {
    fn send(&self, transmit: &Transmit) -> io::Result<()> {
        let Path { local, peer, non_esp_marker } = transmit.path;
        if transmit.is_nat_keepalive() {
            return self.nat.send_keepalive(local.ip(), peer);
        }
        if non_esp_marker {
            return self.nat.send_ike(&transmit.payload, local.ip(), peer, transmit.dont_fragment);
        }
        let socket = self.ike.iter().find(|socket| socket.local_address().is_ipv4() == peer.is_ipv4());
        let socket = socket.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))?;
        socket.send(&[&transmit.payload], local.ip(), peer, transmit.dont_fragment)
    }
}

/// Everything that the thread owns.
pub struct IkeThread {
    /// IKE itself.
    pub endpoint: Endpoint,
    /// Between IKE and the data path.
    pub wiring: Wiring,
    /// What is sent on and, but for port 4500, received from.
    pub sockets: Sockets,
    /// What came in on port 4500, from the inbound thread.
    pub nat_queue: IkeQueueReader,
    /// Packets without an SA, from the outbound thread.
    pub acquires: rtrb::Consumer<Acquire>,
    /// What the kernel refused the outbound thread.
    pub refusals: rtrb::Consumer<Refusal>,
    /// What the kernel refuses to send.
    pub send_failures: SendFailures,
    /// What the control task asks.
    pub requests: RequestQueue<Request>,
    /// Ends the thread's waiting.
    pub waker: Waker,
    /// Grows with every round; the watchdog looks whether it does.
    pub heartbeat: Arc<AtomicU64>,
}

/// What one run of the loop carries from round to round.
struct Pace {
    /// When the endpoint wants to be called.
    deadline: Option<Deadline>,
    looked: Instant,
    /// Who waits for a snapshot.
    askers: Vec<oneshot::Sender<Arc<IkeSnapshot>>>,
    /// The same for one of a connection.
    askers_of: Vec<(Arc<str>, oneshot::Sender<Arc<IkeSnapshot>>)>,
    snapshot: Option<Arc<IkeSnapshot>>,
    /// When the last snapshot was made, and how long that took.
    made: Instant,
    cost: Duration,
    /// The same for the last ones of single connections.
    made_of: Instant,
    cost_of: Duration,
    /// Something happened since.
    changed: bool,
    /// The endpoint did something in this round, with whatever keys that took.
    worked: bool,
    /// Changes since memory was given back, the last one, and when it was given back.
    untidy: usize,
    last_change: Instant,
    tidied: Instant,
    /// Datagrams that wait because their senders are not known.
    arrivals: Arrivals,
    /// What datagrams are received with: those of port 500 many at a time, the others one by one.
    batch: ReceiveBatch,
    buffers: Vec<u8>,
    datagram: Vec<u8>,
    /// How often ICMP told that an earlier datagram did not arrive.
    unreachable: u64,
}

impl IkeThread {
    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// A socket is broken.
    pub fn run(mut self) -> io::Result<()> {
        let start = Instant::now();
        let mut pace = Pace {
            deadline: None,
            looked: start,
            askers: Vec::new(),
            askers_of: Vec::new(),
            snapshot: None,
            made: start,
            cost: Duration::ZERO,
            made_of: start,
            cost_of: Duration::ZERO,
            changed: true,
            worked: false,
            untidy: 0,
            last_change: start,
            tidied: start,
            arrivals: Arrivals::default(),
            batch: ReceiveBatch::default(),
            buffers: Vec::new(),
            datagram: Vec::new(),
            unreachable: 0,
        };
        loop {
            self.heartbeat.fetch_add(1, Ordering::Relaxed);
            if pace.arrivals.is_empty() {
                self.wait(&pace)?;
            }
            self.waker.clear();
            let goes_on = self.round(&mut pace)?;
            if std::mem::take(&mut pace.worked) {
                memory::forget();
            }
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// Handles what has come since the last round. False: stop. A call of its own, so that what keys leave on the stack is
    /// below its caller.
    #[inline(never)]
    fn round(&mut self, pace: &mut Pace) -> io::Result<bool> {
        let now = Instant::now();
        if !self.take_requests(pace, now) {
            self.wiring.stop();
            return Ok(false);
        }
        self.take_in(pace, now)?;
        self.take_icmp(now);
        self.take_facts(pace, now);
        self.take_refusals(pace, now);
        if let Some(deadline) = pace.deadline.filter(|deadline| deadline.at <= now) {
            trace!(why = ?deadline.why, late = ?now.saturating_duration_since(deadline.at), "IKE's deadline has come");
            if deadline.why == Why::HalfOpen {
                (pace.untidy, pace.last_change) = (pace.untidy + HALF_OPEN_CHANGES, now);
            }
            self.endpoint.handle_timeout(now);
            self.drain(pace, now);
        }
        self.serve_arrivals(pace);
        for command in self.wiring.discover_paths(now) {
            self.command(command, pace, now);
        }
        self.wiring.tell_news();
        self.wiring.flush().map_err(io::Error::other)?;
        self.answer(pace, now);
        tidy(pace, now);
        Ok(true)
    }

    fn wait(&self, pace: &Pace) -> io::Result<()> {
        let now = Instant::now();
        let asked = pace.deadline.map(|deadline| deadline.at);
        let mut until = asked.unwrap_or(now + LONGEST_WAIT).min(now + LONGEST_WAIT);
        if !self.wiring.pairs.is_empty() {
            until = until.min(pace.looked + LOOK);
        }
        if !pace.askers.is_empty() {
            until = until.min(pace.made + pace.cost * SNAPSHOT_SHARE);
        }
        if !pace.askers_of.is_empty() {
            until = until.min(pace.made_of + pace.cost_of * SNAPSHOT_SHARE);
        }
        if self.wiring.is_behind() {
            until = until.min(now + BEHIND);
        }
        let mut descriptors = vec![self.waker.as_fd()];
        descriptors.extend(self.sockets.ike.iter().map(AsFd::as_fd));
        descriptors.extend(self.sockets.icmp.iter().map(AsFd::as_fd));
        wait_readable(&descriptors, until.saturating_duration_since(now))
    }

    /// Obeys the control task. False: stop.
    fn take_requests(&mut self, pace: &mut Pace, now: Instant) -> bool {
        while let Some(request) = self.requests.next() {
            match request {
                Request::Stop => return false,
                Request::Command(command) => self.command(command, pace, now),
                Request::Snapshot(asker) => pace.askers.push(asker),
                Request::SnapshotOf(connection, asker) => pace.askers_of.push((connection, asker)),
                Request::Configure(change) => {
                    self.wiring.configure(&change);
                    self.command(Command::Change(change.for_ike()), pace, now);
                }
            }
        }
        true
    }

    fn command(&mut self, command: Command, pace: &mut Pace, now: Instant) {
        self.endpoint.handle_command(command, now);
        self.drain(pace, now);
    }

    fn datagram(&mut self, datagram: &[u8], path: Path, pace: &mut Pace, now: Instant) {
        // The endpoint has counted it.
        if let Err(reason) = self.endpoint.handle_datagram(datagram, path, now) {
            trace!(%reason, peer = %path.peer, "dropped an IKE datagram");
        }
        self.drain(pace, now);
    }

    /// Reads what routers say. It is a hint: a socket that fails has others learn it later, by probing.
    fn take_icmp(&mut self, now: Instant) {
        for socket in &self.sockets.icmp {
            for _ in 0..ROUND {
                match socket.receive() {
                    Ok(None) => break,
                    Ok(Some(told)) => told.iter().for_each(|told| self.wiring.told_too_big(told, now)),
                    Err(error) => {
                        debug!(%error, "an ICMP message was not read");
                        break;
                    }
                }
            }
        }
    }

    fn take_facts(&mut self, pace: &mut Pace, now: Instant) {
        while let Ok(acquire) = self.acquires.pop() {
            if let Some(command) = self.wiring.acquire(&acquire) {
                self.command(command, pace, now);
            }
        }
        if now.saturating_duration_since(pace.looked) >= LOOK {
            pace.looked = now;
            for command in self.wiring.activity(now) {
                self.command(command, pace, now);
            }
            self.wiring.forget_gone(|association| self.endpoint.has_association(association));
        }
    }

    fn take_refusals(&mut self, pace: &mut Pace, now: Instant) {
        while let Ok(refusal) = self.refusals.pop() {
            self.send_failures.esp_refused(&refusal, now);
            pace.changed = true;
        }
        self.send_failures.look(now);
    }

    /// Carries out what the endpoint decided, and tells it what of that could not be.
    fn drain(&mut self, pace: &mut Pace, now: Instant) {
        self.carry_out(pace, now);
        while let Some(answer) = self.wiring.next_answer() {
            self.endpoint.handle_command(answer, now);
            self.carry_out(pace, now);
        }
    }

    /// Carries out what the endpoint decided, in its order: an SA is installed before the message that makes the peer
    /// use it.
    fn carry_out(&mut self, pace: &mut Pace, now: Instant) {
        (pace.changed, pace.worked) = (true, true);
        loop {
            match self.endpoint.poll_output() {
                Output::Event(event) => {
                    // A probe changes no SA.
                    if !matches!(event, Event::PathProbed { .. }) {
                        (pace.untidy, pace.last_change) = (pace.untidy + 1, now);
                    }
                    self.wiring.event(event, now);
                }
                Output::Transmit(transmit) => {
                    let sent = self.sockets.send(&transmit);
                    let Path { local, peer, .. } = transmit.path;
                    self.send_failures.ike_sent(local.ip(), peer.ip(), &sent, now);
                }
                Output::Timeout(deadline) => {
                    pace.deadline = deadline;
                    return;
                }
            }
        }
    }

    /// Answers who wants to know what everything looks like. Whoever hears of an event and then asks must not be shown an
    /// older state, so a snapshot serves several only while nothing happens.
    fn answer(&mut self, pace: &mut Pace, now: Instant) {
        self.answer_of(pace, now);
        let age = now.saturating_duration_since(pace.made);
        let holds = !pace.changed && age < SNAPSHOT_KEPT;
        if pace.askers.is_empty() {
            if age >= SNAPSHOT_KEPT && pace.snapshot.take().is_some_and(|old| old.connections.len() > CHANGES_TO_TIDY) {
                (pace.untidy, pace.last_change) = (CHANGES_TO_TIDY, now);
            }
            return;
        }
        let snapshot = match pace.snapshot.take().filter(|_| holds) {
            Some(snapshot) => snapshot,
            None if age < pace.cost * SNAPSHOT_SHARE => return,
            None => self.snapshot(pace),
        };
        for asker in pace.askers.drain(..) {
            // One that has gone does not mind.
            let _ = asker.send(Arc::clone(&snapshot));
        }
        pace.snapshot = Some(snapshot);
    }

    /// Answers who asks for one connection, with a snapshot of that one.
    fn answer_of(&mut self, pace: &mut Pace, now: Instant) {
        if pace.askers_of.is_empty() || now.saturating_duration_since(pace.made_of) < pace.cost_of * SNAPSHOT_SHARE {
            return;
        }
        let began = Instant::now();
        for (name, asker) in std::mem::take(&mut pace.askers_of) {
            let status = self.endpoint.status_of(&name);
            let (pairs, gone) = status.as_ref().map(|status| self.wiring.of(status)).unwrap_or_default();
            let connections = status.into_iter().collect();
            let snapshot = IkeSnapshot { connections, pairs, gone, ..self.counts(pace) };
            // One that has gone does not mind.
            let _ = asker.send(Arc::new(snapshot));
        }
        (pace.made_of, pace.cost_of) = (began, began.elapsed());
    }

    fn snapshot(&self, pace: &mut Pace) -> Arc<IkeSnapshot> {
        let began = Instant::now();
        let snapshot = Arc::new(IkeSnapshot {
            connections: self.endpoint.status(),
            pairs: self.wiring.pairs.clone(),
            gone: self.wiring.gone(),
            ..self.counts(pace)
        });
        (pace.made, pace.cost, pace.changed) = (began, began.elapsed(), false);
        snapshot
    }

    /// A snapshot of what belongs to no connection.
    fn counts(&self, pace: &Pace) -> IkeSnapshot {
        let discards = self.endpoint.discards().iter().map(|(reason, count)| (reason.name().replace('_', "-"), count));
        let dropped = [
            (DropReason::IkeInitialQueueFull, pace.arrivals.overflowed()),
            (DropReason::IkeTooLarge, pace.arrivals.too_large()),
            (DropReason::IcmpUnreachable, pace.unreachable),
        ];
        let dropped = dropped.map(|(reason, count)| (reason.name().to_owned(), count));
        IkeSnapshot {
            discards: discards.chain(dropped).chain(self.send_failures.counts()).collect(),
            refused: self.send_failures.lines(),
            ..IkeSnapshot::default()
        }
    }
}

/// Gives memory back after thousands of negotiations, a flood, or a look at thousands of connections: the allocator keeps what was
/// freed between values that stay.
fn tidy(pace: &mut Pace, now: Instant) {
    let quiet = now.saturating_duration_since(pace.last_change) >= QUIET_TO_TIDY;
    let due = quiet || now.saturating_duration_since(pace.tidied) >= LONGEST_UNTIDY;
    if pace.untidy >= CHANGES_TO_TIDY && due {
        (pace.untidy, pace.tidied) = (0, now);
        if let Err(error) = memory::give_back() {
            warn!(%error, "memory is not locked any more, so keys can get into the swap");
        }
    }
}
