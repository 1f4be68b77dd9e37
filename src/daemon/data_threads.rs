//! The inbound and the outbound thread, and which of them drives the outbound loop.
//!
//! Under load each loop has a thread of its own. As long as there is time to spare, the inbound thread drives both: what it
//! delivers is often answered before the delivery returns, and a thread that is awake sends the answer sooner than one that
//! has to be woken. Then the outbound thread sleeps. The loop as a whole goes from one thread to the other; it is never
//! shared, so nothing locks.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use crate::dataplane::device::Wait;
use crate::dataplane::fair_source::FairSource;
use crate::dataplane::inbound::InboundLoop;
use crate::dataplane::outbound::{OutboundLoop, Progress};
use crate::io::device::{Sink, Source};
use crate::io::esp_sockets::{Companion, EspSink, EspSource};
use crate::io::memory;

/// How long a thread waits for a packet before it looks at its commands.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// A thread that has worked this much longer than it has slept is busy.
const SURPLUS: Duration = Duration::from_micros(200);
/// How long it counts as busy afterwards: under load there are pauses too.
const REST: Duration = Duration::from_millis(10);

type Outbound = Box<OutboundLoop<FairSource<Source>, Sink, EspSink>>;
type Inbound = InboundLoop<EspSource, Sink>;

/// Makes the two threads' parts: each runs until its loop is told to stop, or fails.
pub fn data_threads(outbound: Outbound, inbound: Inbound, tun: Companion) -> (OutboundThread, InboundThread) {
    let (lend, lent) = sync_channel(1);
    let (give_back, given_back) = sync_channel(1);
    let (tun, inbound_busy) = (Arc::new(tun), Arc::new(AtomicBool::new(false)));
    let outbound_thread =
        OutboundThread { lent, give_back, tun: Arc::clone(&tun), inbound_busy: Arc::clone(&inbound_busy) };
    let inbound_thread = InboundThread { inbound, outbound: Some(outbound), lend, given_back, tun, busy: inbound_busy };
    (outbound_thread, inbound_thread)
}

/// Drives the outbound loop while one thread for both is too few.
pub struct OutboundThread {
    lent: Receiver<Outbound>,
    give_back: SyncSender<Outbound>,
    tun: Arc<Companion>,
    inbound_busy: Arc<AtomicBool>,
}

impl OutboundThread {
    /// # Errors
    /// When the device is gone.
    pub fn run(self) -> io::Result<()> {
        while let Ok(mut outbound) = self.lent.recv() {
            let mut load = Load::starting(Instant::now());
            loop {
                if outbound.run_once(Wait::AtMost(LONGEST_WAIT))? == Progress::Stopped {
                    return Ok(());
                }
                if outbound.took_keys() {
                    memory::forget();
                }
                load.count(outbound.woke_at(), Instant::now());
                let idle = !load.is_busy() && !self.inbound_busy.load(Ordering::Relaxed);
                if idle && !outbound.holds_frames() {
                    // In this order: whoever has the loop may rely on it that the device is watched.
                    self.tun.watch()?;
                    match self.give_back.send(outbound) {
                        Ok(()) => {
                            // An SA may go while another thread has the loop.
                            memory::forget();
                            break;
                        }
                        // The inbound thread has ended.
                        Err(kept) => outbound = kept.0,
                    }
                    self.tun.ignore()?;
                }
            }
        }
        Ok(())
    }
}

/// Drives the inbound loop, and the outbound loop too unless it is lent.
pub struct InboundThread {
    inbound: Inbound,
    /// `None` while it is lent, and after its end.
    outbound: Option<Outbound>,
    lend: SyncSender<Outbound>,
    given_back: Receiver<Outbound>,
    tun: Arc<Companion>,
    busy: Arc<AtomicBool>,
}

impl InboundThread {
    /// # Errors
    /// When the sockets or the device are gone.
    pub fn run(mut self) -> io::Result<()> {
        self.tun.watch()?;
        let mut load = Load::starting(Instant::now());
        loop {
            let holds_frames = self.outbound.as_ref().is_some_and(|outbound| outbound.holds_frames());
            let wait = if holds_frames { Wait::No } else { Wait::AtMost(LONGEST_WAIT) };
            let progress = self.inbound.run_once(wait)?;
            if self.outbound.is_none() {
                self.outbound = self.given_back.try_recv().ok();
            }
            if let Some(outbound) = &mut self.outbound
                && outbound.run_once(Wait::No)? == Progress::Stopped
            {
                self.outbound = None;
                self.tun.ignore()?;
            }
            if self.inbound.took_keys() || self.outbound.as_mut().is_some_and(|outbound| outbound.took_keys()) {
                memory::forget();
            }
            load.count(self.inbound.woke_at(), Instant::now());
            let busy = load.is_busy();
            self.busy.store(busy, Ordering::Relaxed);
            let ends = progress == Progress::Stopped;
            if (ends || busy)
                && let Some(outbound) = self.outbound.take()
            {
                self.tun.ignore()?;
                // Nobody takes it when the other thread has failed, and then everything ends.
                let _ = self.lend.send(outbound);
                memory::forget();
            }
            if ends {
                return Ok(());
            }
        }
    }
}

/// Whether a thread has more to do than to wait for.
struct Load {
    /// How much longer it has worked than slept.
    surplus: Duration,
    /// When the last work was done.
    done: Instant,
    busy_until: Instant,
}

impl Load {
    fn starting(now: Instant) -> Self {
        Self { surplus: Duration::ZERO, done: now, busy_until: now }
    }

    /// Counts a sleep from the end of the last work to `woke`, and work from then on to `done`. No work counts for so much
    /// that it makes the thread busy alone: it may have been kept from running.
    fn count(&mut self, woke: Instant, done: Instant) {
        let left = self.surplus.saturating_sub(woke.saturating_duration_since(self.done));
        self.surplus = left + done.saturating_duration_since(woke).min(SURPLUS);
        self.done = done;
        if self.surplus > SURPLUS {
            self.surplus = SURPLUS;
            self.busy_until = done + REST;
        }
    }

    fn is_busy(&self) -> bool {
        self.done < self.busy_until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a thread is busy after rounds of sleep and work, in microseconds.
    fn is_busy(rounds: impl IntoIterator<Item = (u64, u64)>) -> bool {
        let mut now = Instant::now();
        let mut load = Load::starting(now);
        for (slept, worked) in rounds {
            let woke = now + Duration::from_micros(slept);
            now = woke + Duration::from_micros(worked);
            load.count(woke, now);
        }
        load.is_busy()
    }

    #[test]
    fn questions_and_answers_do_not_make_a_thread_busy() {
        assert!(!is_busy([(100, 40); 1000]));
    }

    #[test]
    fn a_stream_makes_it_busy_at_once() {
        assert!(is_busy([(5, 60); 6]));
    }

    #[test]
    fn one_long_turn_does_not() {
        assert!(!is_busy([(100, 40), (100, 5000), (100, 40)]));
    }

    #[test]
    fn short_pauses_leave_it_busy_and_a_long_one_does_not() {
        let stream = || std::iter::repeat_n((20, 60), 1000);
        assert!(is_busy(stream().chain([(2000, 60)])));
        assert!(!is_busy(stream().chain([(11_000, 60)])));
    }
}
