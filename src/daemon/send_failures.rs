//! What the kernel refuses to send at the moment: a line in the log when it begins, once a minute while it lasts, and when
//! it is over; in the status of the connection meanwhile.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::dataplane::refusal::SendRefusal;
use crate::io::send_errors::class_of;
use crate::io::send_refusals::Refusal;

/// A refusal counts as over when nothing was refused for this long: ESP follows traffic, IKE repeats itself seldom.
const OVER_ESP: Duration = Duration::from_secs(15);
const OVER_IKE: Duration = Duration::from_secs(60);
/// While it lasts, it is told again after this time.
const AGAIN: Duration = Duration::from_secs(60);
/// Lines of one minute at most, and peers at a time: answers to strangers can be refused too.
const LINES: u32 = 30;
const PEERS: usize = 256;

/// What was to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traffic {
    /// Messages of IKE, on port 500 or 4500.
    Ike,
    /// Packets of ESP, in UDP or raw.
    Esp,
}

/// Refusals of the kernel that last.
#[derive(Debug)]
pub struct SendFailures {
    lasting: BTreeMap<(IpAddr, Traffic), Lasting>,
    /// IKE messages that were not sent, by class.
    ike: BTreeMap<SendRefusal, u64>,
    /// The minute that lines are counted in, and what is left of it.
    minute: Instant,
    left: u32,
}

#[derive(Debug)]
struct Lasting {
    /// What a person is told.
    line: String,
    datagrams: u64,
    last: Instant,
    told: Instant,
}

impl SendFailures {
    /// Nothing has been refused yet; `now` begins the first minute of lines.
    pub fn new(now: Instant) -> Self {
        Self { lasting: BTreeMap::new(), ike: BTreeMap::new(), minute: now, left: LINES }
    }

    /// Notes what the outbound loop tells.
    pub fn esp_refused(&mut self, refusal: &Refusal, now: Instant) {
        let Refusal { peer, local, class, errno, datagrams } = *refusal;
        let error = io::Error::from_raw_os_error(errno);
        self.refused((peer.ip(), Traffic::Esp), local, class, &error, datagrams, now);
    }

    /// Notes what became of an IKE message.
    pub fn ike_sent(&mut self, local: IpAddr, peer: IpAddr, sent: &io::Result<()>, now: Instant) {
        match sent {
            Err(error) => {
                let class = class_of(error);
                *self.ike.entry(class).or_default() += 1;
                self.refused((peer, Traffic::Ike), local, class, error, 1, now);
            }
            Ok(()) if self.lasting.is_empty() => {}
            Ok(()) => self.over((peer, Traffic::Ike)),
        }
    }

    fn refused(
        &mut self,
        key: (IpAddr, Traffic),
        local: IpAddr,
        class: SendRefusal,
        error: &io::Error,
        datagrams: u64,
        now: Instant,
    ) {
        let from = if local.is_unspecified() { String::new() } else { format!(" from {local}") };
        let what = if key.1 == Traffic::Ike { "IKE messages" } else { "ESP packets" };
        let line = format!("the kernel refuses to send {what} to {}{from}: {error}; {}", key.0, class.advice());
        let known = self.lasting.get_mut(&key).map(|known| {
            let news = known.line != line || now.saturating_duration_since(known.told) >= AGAIN;
            (known.last, known.datagrams) = (now, known.datagrams + datagrams);
            if news {
                (known.told, known.line) = (now, line.clone());
            }
            (news, known.datagrams)
        });
        let (news, total) = known.unwrap_or((true, datagrams));
        if known.is_none() {
            if self.lasting.len() >= PEERS {
                return;
            }
            self.lasting.insert(key, Lasting { line: line.clone(), datagrams, last: now, told: now });
        }
        if news && self.may_tell(now) {
            warn!(refused = total, "{line}");
        }
    }

    fn may_tell(&mut self, now: Instant) -> bool {
        if now.saturating_duration_since(self.minute) >= AGAIN {
            (self.minute, self.left) = (now, LINES);
        }
        let may = self.left > 0;
        self.left = self.left.saturating_sub(1);
        may
    }

    fn over(&mut self, key: (IpAddr, Traffic)) {
        if let Some(Lasting { datagrams, line, .. }) = self.lasting.remove(&key) {
            info!(refused = datagrams, "no longer so: {line}");
        }
    }

    /// Lets time pass.
    pub fn look(&mut self, now: Instant) {
        if self.lasting.is_empty() {
            return;
        }
        let limit = |traffic| if traffic == Traffic::Ike { OVER_IKE } else { OVER_ESP };
        let ended = |((_, traffic), lasting): &(&(IpAddr, Traffic), &Lasting)| {
            now.saturating_duration_since(lasting.last) >= limit(*traffic)
        };
        let over: Vec<_> = self.lasting.iter().filter(ended).map(|(key, _)| *key).collect();
        over.into_iter().for_each(|key| self.over(key));
    }

    /// What lasts, by peer. ESP's line wins over IKE's: it is what traffic is lost for.
    pub fn lines(&self) -> BTreeMap<IpAddr, String> {
        self.lasting.iter().map(|((peer, _), lasting)| (*peer, lasting.line.clone())).collect()
    }

    /// IKE messages that were not sent since the start, by the names of the counters.
    pub fn counts(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        self.ike.iter().map(|(class, count)| (class.drop_reason().name().to_owned(), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn refusal(errno: i32) -> Refusal {
        let class = class_of(&io::Error::from_raw_os_error(errno));
        Refusal { peer: "203.0.113.2:4500".parse().unwrap(), local: address("0.0.0.0"), class, errno, datagrams: 7 }
    }

    #[test]
    fn a_refusal_stands_for_as_long_as_it_lasts() {
        let start = Instant::now();
        let mut failures = SendFailures::new(start);
        for second in 0..100 {
            let now = start + Duration::from_secs(second);
            failures.esp_refused(&refusal(libc::EPERM), now);
            failures.look(now);
        }
        let lines = failures.lines();
        let line = &lines[&address("203.0.113.2")];
        assert!(
            line.starts_with("the kernel refuses to send ESP packets to 203.0.113.2: Operation not permitted"),
            "{line}"
        );
        assert!(line.ends_with("a firewall or policy of this host forbids it"), "{line}");
        failures.look(start + Duration::from_secs(99) + OVER_ESP);
        assert!(failures.lines().is_empty());
    }

    #[test]
    fn an_ike_message_that_gets_out_ends_it_at_once() {
        let now = Instant::now();
        let mut failures = SendFailures::new(now);
        let (local, peer) = (address("198.51.100.2"), address("203.0.113.2"));
        let refused = || Err(io::Error::from_raw_os_error(libc::ENETUNREACH));
        failures.ike_sent(local, peer, &refused(), now);
        failures.ike_sent(local, peer, &refused(), now);
        let line = failures.lines().remove(&peer).expect("a line");
        assert!(line.contains("IKE messages to 203.0.113.2 from 198.51.100.2: Network is unreachable"), "{line}");
        assert_eq!(failures.counts().collect::<Vec<_>>(), [("send-unreachable".to_owned(), 2)]);
        failures.ike_sent(local, peer, &Ok(()), now);
        assert!(failures.lines().is_empty());
    }

    #[test]
    fn strangers_cannot_fill_it() {
        let now = Instant::now();
        let mut failures = SendFailures::new(now);
        for n in 0..10_000_u32 {
            let refused = Err(io::Error::from_raw_os_error(libc::EPERM));
            failures.ike_sent(address("198.51.100.2"), IpAddr::from(n.to_be_bytes()), &refused, now);
        }
        assert_eq!((failures.lines().len(), failures.left), (PEERS, 0));
        assert_eq!(failures.counts().map(|(_, count)| count).sum::<u64>(), 10_000, "each is counted");
    }
}
