//! What comes in: all that the sockets hold is taken before anything costly is done, datagrams on known IKE SAs are handled
//! at once, and the others wait their turn in [`Arrivals`](super::super::ike_arrivals::Arrivals).

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::{IkeThread, Pace};
use crate::ike::{Path, Standing};
use crate::io::message_batch::RECEIVE_BATCH;

/// The largest UDP datagram.
const MAX_DATAGRAM: usize = 65_535;
/// The longest that one look at the sockets takes. What strangers send fills the socket's buffer for everybody, so it is
/// emptied first.
const TAKING: Duration = Duration::from_millis(4);
/// The longest that a round answers who is not known, but for one request that has begun; then come timers and known peers.
const SERVING: Duration = Duration::from_millis(3);
/// Datagrams that are taken between two looks at the clock.
const AT_ONCE: usize = 64;

impl IkeThread {
    /// Takes what has come on both ports.
    ///
    /// # Errors
    /// A socket is broken.
    pub(super) fn take_in(&mut self, pace: &mut Pace, now: Instant) -> io::Result<()> {
        let began = Instant::now();
        for socket in 0..self.sockets.ike.len() {
            while self.take_port_500(socket, pace, now)? == RECEIVE_BATCH && began.elapsed() < TAKING {}
        }
        // The inbound thread fills this one, and drops what has no room.
        let began = Instant::now();
        while self.take_port_4500(pace, now) == AT_ONCE && began.elapsed() < TAKING {}
        Ok(())
    }

    /// One batch. Returns how many datagrams it had.
    fn take_port_500(&mut self, socket: usize, pace: &mut Pace, now: Instant) -> io::Result<usize> {
        let mut buffers = std::mem::take(&mut pace.buffers);
        buffers.resize(RECEIVE_BATCH * MAX_DATAGRAM, 0);
        let (fd, local) = (self.sockets.ike[socket].as_fd(), self.sockets.ike[socket].local_address());
        let count = pace.batch.receive(fd, buffers.chunks_mut(MAX_DATAGRAM))?;
        for (number, buffer) in buffers.chunks(MAX_DATAGRAM).take(count).enumerate() {
            let Some(arrival) = pace.batch.received(number, local) else { continue };
            let path = Path { local: arrival.local, peer: arrival.peer, non_esp_marker: false };
            self.arrived(buffer.get(..arrival.len).unwrap_or_default(), path, pace, now);
        }
        pace.buffers = buffers;
        pace.unreachable += pace.batch.take_unreachable();
        Ok(count)
    }

    /// Some of what the inbound thread found among the ESP packets. Returns how many datagrams it was.
    fn take_port_4500(&mut self, pace: &mut Pace, now: Instant) -> usize {
        let mut datagram = std::mem::take(&mut pace.datagram);
        let mut count = 0;
        while count < AT_ONCE
            && let Some(path) = self.nat_queue.pop(&mut datagram)
        {
            let path = Path { local: path.local, peer: path.peer, non_esp_marker: true };
            self.arrived(&datagram, path, pace, now);
            count += 1;
        }
        pace.datagram = datagram;
        count
    }

    fn arrived(&mut self, datagram: &[u8], path: Path, pace: &mut Pace, now: Instant) {
        let standing = Standing::of(&mut self.endpoint, datagram, path, now);
        if pace.arrivals.admit(datagram, path, standing, now) {
            self.datagram(datagram, path, pace, now);
        }
    }

    /// Answers those who are not known, by turns, for a while.
    pub(super) fn serve_arrivals(&mut self, pace: &mut Pace) {
        let began = Instant::now();
        let mut now = began;
        while now.saturating_duration_since(began) < SERVING
            && let Some((datagram, path)) = pace.arrivals.pop(now)
        {
            self.datagram(&datagram, path, pace, now);
            // What it left behind is as much memory as that of an SA that changed.
            (pace.untidy, pace.last_change) = (pace.untidy + 1, now);
            now = Instant::now();
        }
    }
}
