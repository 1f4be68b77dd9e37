//! What an SA tells about itself: relaxed atomics with one writer, written once a batch and read at leisure.

use crate::crypto::WrongKeyLength;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::time::{Duration, Instant};

/// Why a loop did not install an SA. Whoever negotiated it has to delete it: the peer believes in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InstallError {
    /// A key does not fit the suite.
    #[error(transparent)]
    WrongKeyLength(#[from] WrongKeyLength),
    /// Another SA has its SPI, and keeps it: its peer sends to it.
    #[error("another SA has its SPI")]
    SpiInUse,
}

/// The facts of one SA, shared between the loop that owns the SA (the only writer) and whoever wants to know.
///
/// Every fact is level-triggered: a reader that looks late sees a later value and misses nothing that matters.
#[derive(Debug)]
pub struct SaFacts {
    epoch: Instant,
    packets: AtomicU64,
    bytes: AtomicU64,
    sequence: AtomicU64,
    errors: AtomicU64,
    /// Milliseconds since `epoch`, plus one; zero means never.
    first_used: AtomicU64,
    last_used: AtomicU64,
    last_large: AtomicU64,
    soft_limit_reached: AtomicBool,
    exhausted: AtomicBool,
    install_error: OnceLock<InstallError>,
    source: SourceCell,
}

/// A reading of [`SaFacts`]. The fields are read one after the other, so they may be a batch apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaReading {
    /// Packets sealed, or opened and delivered to the next check.
    pub packets: u64,
    /// Bytes of inner packets.
    pub bytes: u64,
    /// Packets that were dropped because of the SA or on it: replayed, forged, outside its selectors, past its limit, too
    /// large.
    pub errors: u64,
    /// Highest sequence number sent, or authenticated (the whole 64 bits when extended).
    pub sequence: u64,
    /// When the first packet was sealed or authenticated; `None` before it.
    pub first_used: Option<Instant>,
    /// When the newest packet was sealed or authenticated.
    pub last_used: Option<Instant>,
    /// Outbound: when a batch last held a packet that not every path takes.
    pub last_large: Option<Instant>,
    /// A soft limit passed: time to rekey.
    pub soft_limit_reached: bool,
    /// A hard limit passed or the sequence numbers ran out: the SA passes nothing any more.
    pub exhausted: bool,
    /// Set when the SA was not installed: it passes nothing, and never will.
    pub install_error: Option<InstallError>,
    /// Inbound: where the packet with the highest authenticated sequence number came from. The port is 0 for raw ESP.
    pub source: Option<SocketAddr>,
}

impl SaFacts {
    /// Facts of an SA that nothing used yet; `epoch` is any instant not after the first use.
    pub fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            packets: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            sequence: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            first_used: AtomicU64::new(0),
            last_used: AtomicU64::new(0),
            last_large: AtomicU64::new(0),
            soft_limit_reached: AtomicBool::new(false),
            exhausted: AtomicBool::new(false),
            install_error: OnceLock::new(),
            source: SourceCell::default(),
        }
    }

    /// Reads every fact.
    pub fn read(&self) -> SaReading {
        SaReading {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            errors: self.errors.load(Ordering::Relaxed),
            sequence: self.sequence.load(Ordering::Relaxed),
            first_used: self.instant(&self.first_used),
            last_used: self.instant(&self.last_used),
            last_large: self.instant(&self.last_large),
            soft_limit_reached: self.soft_limit_reached.load(Ordering::Relaxed),
            exhausted: self.exhausted.load(Ordering::Relaxed),
            install_error: self.install_error.get().copied(),
            source: self.source.load(),
        }
    }

    fn instant(&self, cell: &AtomicU64) -> Option<Instant> {
        let milliseconds = cell.load(Ordering::Relaxed).checked_sub(1)?;
        self.epoch.checked_add(Duration::from_millis(milliseconds))
    }

    /// Writes the totals after a batch. Says whether this was the SA's first use. One thread only.
    pub fn record(&self, packets: u64, bytes: u64, sequence: u64, now: Instant) -> bool {
        self.packets.store(packets, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.sequence.store(sequence, Ordering::Relaxed);
        let since = now.saturating_duration_since(self.epoch).as_millis();
        let stamp = u64::try_from(since).unwrap_or(u64::MAX - 1).saturating_add(1);
        self.last_used.store(stamp, Ordering::Relaxed);
        let first = self.first_used.load(Ordering::Relaxed) == 0;
        if first {
            self.first_used.store(stamp, Ordering::Relaxed);
        }
        first
    }

    /// Writes how many packets were dropped. One thread only.
    pub fn record_errors(&self, errors: u64) {
        self.errors.store(errors, Ordering::Relaxed);
    }

    /// Notes that what was last recorded included a packet that not every path takes.
    pub fn record_large(&self) {
        self.last_large.store(self.last_used.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Notes that a soft limit passed.
    pub fn record_soft_limit(&self) {
        self.soft_limit_reached.store(true, Ordering::Relaxed);
    }

    /// Notes that the SA passes nothing any more.
    pub fn record_exhausted(&self) {
        self.exhausted.store(true, Ordering::Relaxed);
    }

    /// Notes that the SA was not installed.
    pub fn record_install_error(&self, error: InstallError) {
        // A second reason adds nothing to the first.
        self.install_error.get_or_init(|| error);
    }

    /// Notes the newest authenticated source. One thread only.
    pub fn record_source(&self, source: SocketAddr) {
        self.source.store(source);
    }
}

/// A socket address in atomics. A reader that meets a writer half way tries again: the version is odd meanwhile.
#[derive(Debug, Default)]
struct SourceCell {
    version: AtomicU64,
    high: AtomicU64,
    low: AtomicU64,
    /// Port, and above it whether the address is IPv4.
    port: AtomicU64,
}

const IS_IPV4: u64 = 1 << 16;

impl SourceCell {
    fn store(&self, source: SocketAddr) {
        let (bits, family) = match source.ip() {
            IpAddr::V4(address) => (u128::from(address.to_bits()), IS_IPV4),
            IpAddr::V6(address) => (address.to_bits(), 0),
        };
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.high.store((bits >> 64) as u64, Ordering::Relaxed);
        self.low.store(bits as u64, Ordering::Relaxed);
        self.port.store(u64::from(source.port()) | family, Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }

    fn load(&self) -> Option<SocketAddr> {
        loop {
            let before = self.version.load(Ordering::Acquire);
            if before == 0 {
                return None;
            }
            let high = self.high.load(Ordering::Relaxed);
            let low = self.low.load(Ordering::Relaxed);
            let port = self.port.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == before {
                let address = if port & IS_IPV4 != 0 {
                    IpAddr::V4((low as u32).into())
                } else {
                    IpAddr::V6(Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)))
                };
                return Some(SocketAddr::new(address, port as u16));
            }
            std::hint::spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_new_sa_was_never_used() {
        let reading = SaFacts::new(Instant::now()).read();
        assert_eq!((reading.packets, reading.first_used, reading.last_used), (0, None, None));
        assert_eq!(reading.source, None);
    }

    #[test]
    fn only_the_first_record_is_the_first_use() {
        let epoch = Instant::now();
        let facts = SaFacts::new(epoch);
        assert!(facts.record(1, 100, 1, epoch + Duration::from_millis(5)));
        assert!(!facts.record(3, 300, 3, epoch + Duration::from_millis(9)));
        let reading = facts.read();
        assert_eq!((reading.packets, reading.bytes, reading.sequence), (3, 300, 3));
        assert_eq!(reading.first_used, Some(epoch + Duration::from_millis(5)));
        assert_eq!(reading.last_used, Some(epoch + Duration::from_millis(9)));
    }

    #[test]
    fn sources_of_both_families_come_back_whole() {
        let facts = SaFacts::new(Instant::now());
        for text in ["192.0.2.7:4500", "[2001:db8::7]:65535", "255.255.255.255:0"] {
            let source: SocketAddr = text.parse().unwrap();
            facts.record_source(source);
            assert_eq!(facts.read().source, Some(source));
        }
    }

    #[test]
    fn a_reader_never_sees_half_of_two_sources() {
        let facts = Arc::new(SaFacts::new(Instant::now()));
        let writer = Arc::clone(&facts);
        let source = |n: u16| SocketAddr::new(IpAddr::V6(Ipv6Addr::new(n, n, n, n, n, n, n, n)), n);
        let thread = std::thread::spawn(move || (1..20_000).for_each(|n| writer.record_source(source(n))));
        while !thread.is_finished() {
            if let Some(seen) = facts.read().source {
                assert_eq!(seen, source(seen.port()));
            }
        }
        thread.join().unwrap();
        assert_eq!(facts.read().source, Some(source(19_999)));
    }
}
