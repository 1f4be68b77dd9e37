//! Sequence-numbered UDP at a steady rate, for the labs: what a tunnel loses, doubles or reorders, and the highest rate
//! that it carries. Plain datagrams, as an ordinary application sends them (no UDP_SEGMENT, no UDP_GRO), many a system
//! call on either side, so that this program is not what limits the path.
//!
//! Datagram: run (8 bytes), sequence number (8 bytes), padding. The sequence number `END` asks for the counts of the run.
#![expect(clippy::disallowed_methods, reason = "one thread, which serves nobody else")]

use std::io::{Error, IoSlice, IoSliceMut, Result};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use clap::Parser;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, sendmmsg, setsockopt, sockopt};
use serde_json::{Value, json};

const END: u64 = u64::MAX;
/// Datagrams a system call.
const BATCH: usize = 64;
/// Sequence numbers that a receiver keeps track of, at one bit each.
const SEQUENCE_LIMIT: u64 = 1 << 30;
const SEND_BUFFER: usize = 4 << 20;
/// Room for what arrives while other work on the machine keeps the receiver from running: its losses are not the tunnel's.
const RECEIVE_BUFFER: usize = 64 << 20;

#[derive(Parser)]
enum Command {
    /// Counts what arrives, for any number of runs, until it is killed
    Receive { listen: SocketAddr },
    /// One run; prints its counts as JSON
    Send {
        to: SocketAddr,
        #[command(flatten)]
        load: Load,
        /// datagrams a second
        #[arg(long)]
        rate: f64,
    },
    /// Searches the highest rate that arrives with less than 1 % lost; prints it as JSON with every probe
    Search {
        to: SocketAddr,
        #[command(flatten)]
        load: Load,
        /// datagrams a second, the bounds of the search
        #[arg(long, default_value_t = 3e3)]
        least: f64,
        #[arg(long, default_value_t = 1e6)]
        most: f64,
        #[arg(long, default_value_t = 8)]
        probes: u32,
    },
}

#[derive(clap::Args)]
struct Load {
    /// payload bytes a datagram
    #[arg(long, value_parser = clap::value_parser!(u16).range(16..=9000))]
    size: u16,
    /// seconds a run
    #[arg(long)]
    seconds: f64,
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::Receive { listen } => receive(listen),
        Command::Send { to, load, rate } => {
            println!("{}", run(to, &load, rate)?.json());
            Ok(())
        }
        Command::Search { to, load, least, most, probes } => {
            println!("{}", search(to, &load, least, most, probes)?);
            Ok(())
        }
    }
}

fn socket(bind: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(bind)?;
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER)?;
    setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER)?;
    Ok(socket)
}

/// What a receiver counts of one run.
#[derive(Default)]
struct Seen {
    run: u64,
    received: u64,
    duplicated: u64,
    reordered: u64,
    highest: Option<u64>,
    bits: Vec<u64>,
}

impl Seen {
    fn count(&mut self, sequence: u64) {
        let (word, bit) = ((sequence / 64) as usize, 1 << (sequence % 64));
        if self.bits.len() <= word {
            self.bits.resize(word + 1024, 0);
        }
        if self.bits[word] & bit != 0 {
            self.duplicated += 1;
            return;
        }
        self.bits[word] |= bit;
        self.received += 1;
        if self.highest.is_some_and(|highest| sequence < highest) {
            self.reordered += 1;
        }
        self.highest = self.highest.max(Some(sequence));
    }

    fn report(&self) -> [u8; 32] {
        let mut report = [0; 32];
        for (field, value) in report.chunks_mut(8).zip([self.run, self.received, self.duplicated, self.reordered]) {
            field.copy_from_slice(&value.to_be_bytes());
        }
        report
    }
}

/// The big-endian number at the index-th eight bytes.
fn number(datagram: &[u8], index: usize) -> Option<u64> {
    Some(u64::from_be_bytes(datagram.get(index * 8..index * 8 + 8)?.try_into().ok()?))
}

fn receive(listen: SocketAddr) -> Result<()> {
    let socket = socket(listen)?;
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    let mut buffers = vec![0; BATCH * 9216];
    let mut seen = Seen::default();
    loop {
        let mut slices: Vec<_> = buffers.chunks_mut(9216).map(|buffer| [IoSliceMut::new(buffer)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        let mut arrived = 0;
        for message in recvmmsg(socket.as_raw_fd(), &mut headers, slices.iter_mut(), flags, None)? {
            arrived += 1;
            let datagram = message.iovs().next().unwrap_or_default();
            let (Some(run), Some(sequence)) = (number(datagram, 0), number(datagram, 1)) else { continue };
            if seen.run != run {
                seen = Seen { run, ..Seen::default() };
            }
            match (sequence, message.address.as_ref().and_then(SockaddrStorage::as_sockaddr_in)) {
                (END, Some(from)) => drop(socket.send_to(&seen.report(), SocketAddr::V4((*from).into()))?),
                (0..SEQUENCE_LIMIT, _) => seen.count(sequence),
                _ => {}
            }
        }
        if arrived < BATCH {
            std::thread::sleep(Duration::from_micros(500)); // the socket's buffer holds more than arrives in this time
        }
    }
}

/// What became of one run.
struct Outcome {
    offered: f64,
    seconds: f64,
    sent: u64,
    received: u64,
    duplicated: u64,
    reordered: u64,
}

impl Outcome {
    fn loss(&self) -> f64 {
        1.0 - self.received as f64 / self.sent.max(1) as f64
    }

    fn received_rate(&self) -> f64 {
        self.received as f64 / self.seconds
    }

    fn json(&self) -> Value {
        json!({
            "offered_kpps": self.offered / 1e3, "sent_kpps": self.sent as f64 / self.seconds / 1e3,
            "received_kpps": self.received_rate() / 1e3, "seconds": self.seconds, "sent": self.sent, "received": self.received,
            "lost": self.sent.saturating_sub(self.received), "duplicated": self.duplicated, "reordered": self.reordered,
        })
    }
}

fn run(to: SocketAddr, load: &Load, rate: f64) -> Result<Outcome> {
    let socket = socket(SocketAddr::from(([0, 0, 0, 0], 0)))?;
    socket.connect(to)?;
    nix::sys::prctl::set_timerslack(1000)?;
    let run =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_err(Error::other)?.as_nanos() as u64;
    let mut buffers: Vec<Vec<u8>> = vec![vec![0; load.size.into()]; BATCH];
    let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(BATCH, None);
    let (mut sent, mut forgone) = (0, 0.0);
    let depth = (rate * 1e-3).max(BATCH as f64); // a sender that was held up does not make up for more than this
    let begin = Instant::now();
    let seconds = loop {
        let elapsed = begin.elapsed().as_secs_f64();
        let due = rate * elapsed - forgone - sent as f64;
        if elapsed >= load.seconds || sent >= SEQUENCE_LIMIT {
            break elapsed;
        }
        if due < 1.0 {
            std::thread::sleep(Duration::from_secs_f64(((1.0 - due) / rate).clamp(50e-6, 1e-2)));
            continue;
        }
        forgone += (due - depth).max(0.0);
        let count = (due as usize).min(BATCH);
        for (buffer, sequence) in buffers[..count].iter_mut().zip(sent..) {
            buffer[..8].copy_from_slice(&run.to_be_bytes());
            buffer[8..16].copy_from_slice(&u64::to_be_bytes(sequence));
        }
        let slices: Vec<_> = buffers[..count].iter().map(|buffer| [IoSlice::new(buffer)]).collect();
        match sendmmsg(socket.as_raw_fd(), &mut headers, slices.iter(), [None; BATCH], [], MsgFlags::empty()) {
            Ok(results) => sent += results.count() as u64,
            Err(nix::Error::EMSGSIZE | nix::Error::ENOBUFS) => {} // a path MTU was learnt; a queue was full
            Err(error) => return Err(error.into()),
        }
    };
    std::thread::sleep(Duration::from_millis(100)); // what is under way arrives
    let [received, duplicated, reordered] = ask_counts(&socket, run)?;
    Ok(Outcome { offered: rate, seconds, sent, received, duplicated, reordered })
}

fn ask_counts(socket: &UdpSocket, run: u64) -> Result<[u64; 3]> {
    let mut question = [0; 16];
    question[..8].copy_from_slice(&run.to_be_bytes());
    question[8..].copy_from_slice(&END.to_be_bytes());
    socket.set_read_timeout(Some(Duration::from_millis(200)))?;
    for _ in 0..20 {
        let mut answer = [0; 32];
        if socket.send(&question).is_ok() && socket.recv(&mut answer).is_ok() && number(&answer, 0) == Some(run) {
            return Ok([1, 2, 3].map(|index| number(&answer, index).unwrap_or(0)));
        }
    }
    Err(Error::other("the receiver does not answer"))
}

/// Bisects on a logarithmic scale. A probe that narrowly fails is repeated once: other work on the machine must not
/// decide the search.
fn search(to: SocketAddr, load: &Load, least: f64, most: f64, probes: u32) -> Result<Value> {
    let (mut low, mut high, mut best, mut outcomes) = (least, most, 0.0_f64, Vec::new());
    for _ in 0..probes {
        let rate = (low * high).sqrt();
        let mut outcome = run(to, load, rate)?;
        outcomes.push(outcome.json());
        if (0.01..0.1).contains(&outcome.loss()) {
            outcome = run(to, load, rate)?;
            outcomes.push(outcome.json());
        }
        if outcome.loss() < 0.01 {
            low = rate;
            best = best.max(outcome.received_rate());
        } else {
            high = rate;
        }
    }
    Ok(json!({ "received_kpps": best / 1e3, "probes": outcomes }))
}
