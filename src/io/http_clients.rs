//! The clients of an HTTP server: how many there may be, from one source and in all, and who goes when there are too many.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::sleep;

/// Connections from one source, and in all. A new one takes the place of the one that has been idle for longest.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// From one IPv4 address or one /64 of IPv6.
    pub of_source: usize,
    /// From everywhere.
    pub of_all: usize,
    /// Requests with bodies that take room, from one source.
    pub large: usize,
}

/// An IPv4 address, or the /64 of an IPv6 one.
type Source = (bool, u64);

fn source(address: IpAddr) -> Source {
    match address.to_canonical() {
        IpAddr::V4(address) => (true, u64::from(u32::from(address))),
        IpAddr::V6(address) => (false, (u128::from(address) >> 64) as u64),
    }
}

#[derive(Debug)]
struct Open {
    source: Source,
    /// Since when no request of it is answered; `None`: one is.
    idle: Option<Instant>,
    /// Its request's body takes room.
    large: bool,
    leave: Arc<Notify>,
}

#[derive(Debug, Default)]
struct All {
    next: u64,
    open: BTreeMap<u64, Open>,
}

/// All connections of a server.
#[derive(Clone, Debug)]
pub struct Clients {
    limits: Limits,
    all: Arc<Mutex<All>>,
}

/// A connection's place among all, until it is dropped.
#[derive(Debug)]
pub struct Client {
    number: u64,
    clients: Clients,
    leave: Arc<Notify>,
    asked: AtomicBool,
}

/// While it is there, the connection is not idle.
#[derive(Debug)]
pub struct Busy(Arc<Client>);

/// While it is there, the connection's request has a body that takes room.
#[derive(Debug)]
pub struct Large(Arc<Client>);

impl Clients {
    /// Nobody yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, all: Arc::default() }
    }

    /// A place for a connection from `address`. `None`: all places that it may have are taken by busy ones.
    pub fn admit(&self, address: IpAddr) -> Option<Client> {
        let (source, mut all) = (source(address), self.all());
        if all.open.values().filter(|open| open.source == source).count() >= self.limits.of_source {
            all.displace(|open| open.source == source)?;
        } else if all.open.len() >= self.limits.of_all {
            // Of the source that has most, so that many silent ones of a few sources displace each other.
            let crowded = all.crowded()?;
            all.displace(|open| open.source == crowded)?;
        }
        let (number, leave) = (all.next, Arc::new(Notify::new()));
        all.next += 1;
        all.open.insert(number, Open { source, idle: Some(Instant::now()), large: false, leave: Arc::clone(&leave) });
        Some(Client { number, clients: self.clone(), leave, asked: AtomicBool::new(false) })
    }

    fn all(&self) -> MutexGuard<'_, All> {
        // Nothing in it is half done when it panics.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has a place still.
    fn set_idle(&self, number: u64, idle: Option<Instant>) -> bool {
        match self.all().open.get_mut(&number) {
            Some(open) => {
                open.idle = idle;
                true
            }
            None => false,
        }
    }
}

impl All {
    /// The source that has most connections that are idle.
    fn crowded(&self) -> Option<Source> {
        let mut counts = BTreeMap::<Source, usize>::new();
        for open in self.open.values().filter(|open| open.idle.is_some()) {
            *counts.entry(open.source).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).map(|(source, _)| source)
    }

    /// Has the one leave that has been idle for longest among those.
    fn displace(&mut self, among: impl Fn(&Open) -> bool) -> Option<()> {
        let idle = self.open.iter().filter(|(_, open)| among(open));
        let idle = idle.filter_map(|(number, open)| Some((open.idle?, *number)));
        let (_, number) = idle.min()?;
        self.open.remove(&number)?.leave.notify_one();
        Some(())
    }
}

impl Client {
    /// Completes when another one has taken its place.
    pub async fn displaced(&self) {
        self.leave.notified().await;
    }

    /// A request of it is to be answered. `None`: another one has taken its place, so that it would not learn what came of
    /// it.
    pub fn busy(self: &Arc<Self>) -> Option<Busy> {
        self.clients.set_idle(self.number, None).then(|| Busy(Arc::clone(self)))
    }

    /// Its request's body is to take room. `None`: its source has as many of those as it may.
    pub fn large(self: &Arc<Self>) -> Option<Large> {
        let mut all = self.clients.all();
        let source = all.open.get(&self.number)?.source;
        if all.open.values().filter(|open| open.source == source && open.large).count() >= self.clients.limits.large {
            return None;
        }
        all.open.get_mut(&self.number)?.large = true;
        Some(Large(Arc::clone(self)))
    }

    /// The head of a request has come.
    pub fn has_asked(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Completes after so long if the head of a first request has not come by then.
    pub async fn says_nothing(&self, patience: Duration) {
        sleep(patience).await;
        if self.asked.load(Ordering::Relaxed) {
            std::future::pending().await
        }
    }
}

impl Drop for Large {
    fn drop(&mut self) {
        if let Some(open) = self.0.clients.all().open.get_mut(&self.0.number) {
            open.large = false;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.clients.set_idle(self.0.number, Some(Instant::now()));
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.clients.all().open.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn is_displaced(client: &Client) -> bool {
        client.displaced().now_or_never().is_some()
    }

    #[test]
    fn the_one_that_is_idle_for_longest_makes_room() {
        let clients = Clients::new(Limits { of_source: 2, of_all: 3, large: 1 });
        let first = Arc::new(clients.admit(address(1)).unwrap());
        let second = Arc::new(clients.admit(address(1)).unwrap());
        drop(first.busy());
        let third = clients.admit(address(1)).unwrap();
        assert!(!is_displaced(&first) && is_displaced(&second), "the first one has just been answered");
        let other = clients.admit(address(2)).unwrap();
        let another = clients.admit(address(3)).unwrap();
        assert!(is_displaced(&first) && !is_displaced(&third) && !is_displaced(&other) && !is_displaced(&another));
        assert!(first.busy().is_none(), "what it asked for at last is not begun");
    }

    #[test]
    fn a_source_with_many_makes_room_for_others_however_new_its_own_are() {
        let clients = Clients::new(Limits { of_source: 3, of_all: 4, large: 1 });
        let lone = clients.admit(address(1)).unwrap();
        let crowd: Vec<_> = (0..3).map(|_| clients.admit(address(2)).unwrap()).collect();
        let _new = clients.admit(address(3)).unwrap();
        assert!(!is_displaced(&lone) && is_displaced(&crowd[0]) && !is_displaced(&crowd[1]));
    }

    #[test]
    fn a_source_has_so_many_large_bodies() {
        let clients = Clients::new(Limits { of_source: 3, of_all: 4, large: 1 });
        let first = Arc::new(clients.admit(address(1)).unwrap());
        let second = Arc::new(clients.admit(address(1)).unwrap());
        let other = Arc::new(clients.admit(address(2)).unwrap());
        let large = first.large().unwrap();
        assert!(second.large().is_none() && other.large().is_some());
        drop(large);
        assert!(second.large().is_some());
    }

    #[test]
    fn who_is_answered_keeps_its_place() {
        let clients = Clients::new(Limits { of_source: 1, of_all: 2, large: 1 });
        let first = Arc::new(clients.admit(address(1)).unwrap());
        let busy = first.busy();
        assert!(clients.admit(address(1)).is_none());
        let second = clients.admit(address(2)).unwrap();
        let third = clients.admit(address(3)).unwrap();
        assert!(is_displaced(&second) && !is_displaced(&first));
        drop((busy, third));
        assert!(clients.admit(address(1)).is_some() && is_displaced(&first));
    }

    #[test]
    fn places_are_free_again_and_a_network_of_ipv6_is_one_source() {
        let clients = Clients::new(Limits { of_source: 1, of_all: 10, large: 1 });
        drop(clients.admit(address(1)).unwrap());
        assert!(clients.all().open.is_empty());
        let first = clients.admit("2001:db8::1".parse().unwrap()).unwrap();
        let mapped = clients.admit("::ffff:192.0.2.1".parse().unwrap()).unwrap();
        let _second = clients.admit("2001:db8::2".parse().unwrap()).unwrap();
        assert!(is_displaced(&first) && !is_displaced(&mapped));
        let _same = clients.admit(address(1)).unwrap();
        assert!(is_displaced(&mapped), "an IPv4 address is one source in both forms");
    }
}
