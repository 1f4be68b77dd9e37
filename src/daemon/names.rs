//! Peers that are configured by name: looked up side by side, at the start, again and again, and before the peer is tried
//! again. Meanwhile the last address stays.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// How long an address is taken for right.
const AGAIN: Duration = Duration::from_secs(60);
/// How long after a failure the next attempt comes.
const RETRY: Duration = Duration::from_secs(5);
/// How long a lookup may take before it is told that there is no answer. It goes on: the system cannot be stopped.
const LIMIT: Duration = Duration::from_secs(5);
/// Names that are looked up at once, each by a thread of its own.
const AT_ONCE: usize = 64;
/// Results that may wait; whoever takes them takes all together. With more, the next lookup begins later.
pub const RESOLUTIONS: usize = 1024;

/// What a name resolved to, or why it did not.
pub type Resolution = (String, Result<IpAddr, String>);

/// Names that are to be looked up now. Every clone is the same set. Each name stands in it once, so none is lost, and it holds
/// no more than are configured.
#[derive(Clone, Debug, Default)]
pub struct Hurries(Arc<(Mutex<BTreeSet<String>>, Notify)>);

impl Hurries {
    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a name looked up at once, and waits for nothing.
    pub fn ask(&self, name: &str) {
        self.names().insert(name.to_owned());
        self.0.1.notify_one();
    }

    /// Those that were asked for since the last time, once there are any.
    pub(super) async fn take(&self) -> BTreeSet<String> {
        loop {
            let names = std::mem::take(&mut *self.names());
            if !names.is_empty() {
                return names;
            }
            self.0.1.notified().await;
        }
    }
}

/// Looks up the names of `names`, and those of `hurries` at once, until nobody wants the results.
pub async fn resolve(names: watch::Receiver<BTreeSet<String>>, hurries: Hurries, results: mpsc::Sender<Resolution>) {
    resolve_by(look_up, LIMIT, names, hurries, results).await;
}

/// Likewise, by this function and with this limit.
async fn resolve_by<L: Future<Output = Result<IpAddr, String>> + Send + 'static>(
    look_up: impl Fn(String) -> L,
    limit: Duration,
    mut names: watch::Receiver<BTreeSet<String>>,
    hurries: Hurries,
    results: mpsc::Sender<Resolution>,
) {
    let mut lookups = Lookups::default();
    lookups.want(&names.borrow_and_update());
    loop {
        let now = Instant::now();
        lookups.start(now, &look_up);
        for name in lookups.late(now, limit) {
            let late = Err(format!("cannot resolve {name}: no answer within {} s", limit.as_secs()));
            if results.send((name, late)).await.is_err() {
                return;
            }
        }
        let next = lookups.next(limit);
        tokio::select! {
            changed = names.changed() => {
                if changed.is_err() {
                    return;
                }
                lookups.want(&names.borrow_and_update());
            }
            hurried = hurries.take() => hurried.iter().for_each(|name| lookups.hurry(name)),
            Some(Ok((name, result))) = lookups.under_way.join_next() => {
                if lookups.ended(&name, result.is_ok()) && results.send((name, result)).await.is_err() {
                    return;
                }
            }
            () = sleep_until(next) => {}
        }
    }
}

/// Names and what is being done about them.
#[derive(Default)]
struct Lookups {
    names: HashMap<String, Lookup>,
    under_way: JoinSet<Resolution>,
}

struct Lookup {
    /// When it begins, or should have begun.
    due: Instant,
    is_under_way: bool,
    /// It has been told that it takes too long.
    is_late: bool,
    /// It is to be looked up once more when it ends: what was asked may have changed meanwhile.
    again: bool,
}

impl Lookups {
    fn want(&mut self, names: &BTreeSet<String>) {
        self.names.retain(|name, _| names.contains(name));
        for name in names.iter().filter(|name| !self.names.contains_key(*name)).cloned().collect::<Vec<_>>() {
            let lookup = Lookup { due: Instant::now(), is_under_way: false, is_late: false, again: false };
            self.names.insert(name, lookup);
        }
    }

    fn hurry(&mut self, name: &str) {
        match self.names.get_mut(name) {
            Some(lookup) if lookup.is_under_way => lookup.again = true,
            Some(lookup) => lookup.due = lookup.due.min(Instant::now()),
            None => {}
        }
    }

    /// Begins what is due, as far as not too many are under way.
    fn start<L: Future<Output = Result<IpAddr, String>> + Send + 'static>(
        &mut self,
        now: Instant,
        look_up: impl Fn(String) -> L,
    ) {
        let due = self.names.iter_mut().filter(|(_, lookup)| !lookup.is_under_way && lookup.due <= now);
        // Those that hang are due again and again: whoever has been due for longest is next.
        let mut due: Vec<_> = due.collect();
        due.sort_by_key(|(_, lookup)| lookup.due);
        for (name, lookup) in due.into_iter().take(AT_ONCE.saturating_sub(self.under_way.len())) {
            (lookup.is_under_way, lookup.again) = (true, false);
            let (name, result) = (name.clone(), look_up(name.clone()));
            self.under_way.spawn(async move { (name, result.await) });
        }
    }

    /// Those that take too long and have not been told to.
    fn late(&mut self, now: Instant, limit: Duration) -> Vec<String> {
        let late = self.names.iter_mut().filter(|(_, lookup)| !lookup.is_late && now >= lookup.due + limit);
        let told = |(name, lookup): (&String, &mut Lookup)| {
            lookup.is_late = true;
            name.clone()
        };
        late.map(told).collect()
    }

    /// One has ended. Whether anybody wants to know.
    fn ended(&mut self, name: &str, resolved: bool) -> bool {
        let Some(lookup) = self.names.get_mut(name) else { return false };
        let pause = match (lookup.again, resolved) {
            (true, _) => Duration::ZERO,
            (false, true) => AGAIN,
            (false, false) => RETRY,
        };
        *lookup = Lookup { due: Instant::now() + pause, is_under_way: false, is_late: false, again: false };
        true
    }

    /// When something is to be begun or told.
    fn next(&self, limit: Duration) -> Instant {
        let is_full = self.under_way.len() >= AT_ONCE;
        let next = |lookup: &Lookup| match (lookup.is_under_way || is_full, lookup.is_late) {
            (true, true) => None,
            (true, false) => Some(lookup.due + limit),
            (false, _) => Some(lookup.due),
        };
        self.names.values().filter_map(next).min().unwrap_or_else(|| Instant::now() + AGAIN)
    }
}

/// The lowest of a name's addresses, IPv4 first: a resolver that turns its answers round must not move the peer.
async fn look_up(name: String) -> Result<IpAddr, String> {
    let found =
        tokio::net::lookup_host((&*name, 0)).await.map_err(|error| format!("cannot resolve {name}: {error}"))?;
    let addresses: BTreeSet<IpAddr> = found.map(|address| address.ip()).collect();
    addresses.into_iter().next().ok_or_else(|| format!("{name} has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));
    const SHORT: Duration = Duration::from_millis(50);

    /// Answers at once, but for names that begin with "hangs".
    async fn look_up(name: String, asked: Arc<Mutex<Vec<String>>>) -> Result<IpAddr, String> {
        asked.lock().unwrap().push(name.clone());
        if name.starts_with("hangs") { std::future::pending().await } else { Ok(ADDRESS) }
    }

    struct Resolver {
        names: watch::Sender<BTreeSet<String>>,
        hurries: Hurries,
        told: mpsc::Receiver<Resolution>,
        asked: Arc<Mutex<Vec<String>>>,
    }

    impl Resolver {
        fn start(wanted: &[&str]) -> Self {
            let (names, to_resolve) = watch::channel(BTreeSet::new());
            let hurries = Hurries::default();
            let (results, told) = mpsc::channel(16);
            let asked = Arc::<Mutex<Vec<String>>>::default();
            let by = Arc::clone(&asked);
            let by_name = move |name| look_up(name, Arc::clone(&by));
            tokio::spawn(resolve_by(by_name, SHORT, to_resolve, hurries.clone(), results));
            let resolver = Self { names, hurries, told, asked };
            resolver.want(wanted);
            resolver
        }

        fn want(&self, names: &[&str]) {
            self.names.send_replace(names.iter().map(|name| (*name).to_owned()).collect());
        }

        async fn told(&mut self) -> Resolution {
            tokio::time::timeout(Duration::from_secs(10), self.told.recv()).await.unwrap().unwrap()
        }

        fn asked(&self) -> usize {
            self.asked.lock().unwrap().len()
        }
    }

    #[tokio::test]
    async fn a_name_without_an_answer_delays_no_other_and_is_told_of_in_time() {
        let mut resolver = Resolver::start(&["hangs-1", "hangs-2", "other"]);
        assert_eq!(resolver.told().await, ("other".to_owned(), Ok(ADDRESS)));
        let mut late = [resolver.told().await, resolver.told().await];
        late.sort();
        let reason = |name: &str| Err(format!("cannot resolve {name}: no answer within 0 s"));
        assert_eq!(late, ["hangs-1", "hangs-2"].map(|name| (name.to_owned(), reason(name))));
        resolver.want(&["hangs-1", "hangs-2", "other", "new"]);
        assert_eq!(resolver.told().await, ("new".to_owned(), Ok(ADDRESS)));
        tokio::time::sleep(3 * SHORT).await;
        assert_eq!(resolver.asked(), 4, "one lookup for each, and no second one beside one that hangs");
    }

    #[tokio::test]
    async fn a_name_is_looked_up_again_at_once_when_its_peer_is_to_be_tried() {
        let mut resolver = Resolver::start(&["peer.example"]);
        for attempt in 1..=3 {
            assert_eq!(resolver.told().await, ("peer.example".to_owned(), Ok(ADDRESS)));
            assert_eq!(resolver.asked(), attempt);
            for name in ["other.example", "peer.example"] {
                resolver.hurries.ask(name);
            }
        }
    }

    #[tokio::test]
    async fn names_that_hang_are_bounded_and_those_behind_them_are_told_of() {
        let many: Vec<String> = (0..2 * AT_ONCE).map(|n| format!("hangs-{n}")).collect();
        let mut resolver = Resolver::start(&many.iter().map(String::as_str).collect::<Vec<_>>());
        let mut late = BTreeSet::new();
        while late.len() < many.len() {
            late.insert(resolver.told().await.0);
        }
        assert_eq!(resolver.asked(), AT_ONCE);
    }

    #[tokio::test]
    async fn whoever_has_been_due_for_longest_is_next() {
        let (now, count) = (Instant::now(), 4 * AT_ONCE);
        let mut lookups = Lookups::default();
        for age in 0..count {
            let due = now - Duration::from_millis(age as u64);
            let lookup = Lookup { due, is_under_way: false, is_late: false, again: false };
            lookups.names.insert(format!("name-{age}"), lookup);
        }
        lookups.start(now, |_| std::future::pending());
        let begun = lookups.names.iter().filter(|(_, lookup)| lookup.is_under_way).map(|(name, _)| name.clone());
        let oldest = (count - AT_ONCE..count).map(|age| format!("name-{age}"));
        assert_eq!(begun.collect::<BTreeSet<_>>(), oldest.collect());
    }

    #[tokio::test]
    async fn of_hundreds_whose_peers_are_to_be_tried_at_once_none_is_left_out() {
        let many: BTreeSet<String> = (0..600).map(|n| format!("peer-{n}.example")).collect();
        let mut resolver = Resolver::start(&many.iter().map(String::as_str).collect::<Vec<_>>());
        for looked_up in 1..=2 {
            let mut told = BTreeSet::new();
            while told.len() < many.len() {
                let (name, result) = resolver.told().await;
                told.extend(result.is_ok().then_some(name));
            }
            assert_eq!(resolver.asked(), looked_up * many.len());
            // Nobody has the time to listen meanwhile.
            many.iter().for_each(|name| resolver.hurries.ask(name));
        }
    }
}
