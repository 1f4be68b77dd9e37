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
const PACE: Pace = Pace { limit: Duration::from_secs(5), apart: Duration::from_secs(1) };
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
    resolve_by(look_up, PACE, names, hurries, results).await;
}

#[derive(Clone, Copy)]
struct Pace {
    /// How long a lookup may take before it is told that there is no answer. It goes on: the system cannot be stopped.
    limit: Duration,
    /// How long after a lookup the next one of the same name begins at the earliest, however often it is asked for: what was
    /// found is as new, and a peer that cannot be tried asks with each attempt.
    apart: Duration,
}

/// Likewise, by this function and at this pace.
async fn resolve_by<L: Future<Output = Result<IpAddr, String>> + Send + 'static>(
    look_up: impl Fn(String) -> L,
    Pace { limit, apart }: Pace,
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
            hurried = hurries.take() => hurried.iter().for_each(|name| lookups.hurry(name, Instant::now())),
            Some(Ok((name, result))) = lookups.under_way.join_next() => {
                if lookups.ended(&name, result.is_ok(), apart) && results.send((name, result)).await.is_err() {
                    return;
                }
            }
            () = sleep_until(next) => {}
        }
    }
}

/// Names and what is being done about them. One that is due is found without a look at the others.
#[derive(Default)]
struct Lookups {
    names: HashMap<Arc<str>, Lookup>,
    /// Those that are not under way, by when they begin, or should have begun.
    waiting: BTreeSet<(Instant, Arc<str>)>,
    /// Those of which it has not been told that they take too long, by when they began, or should have begun.
    untold: BTreeSet<(Instant, Arc<str>)>,
    under_way: JoinSet<Resolution>,
}

struct Lookup {
    /// When it begins, or should have begun.
    due: Instant,
    /// No hurry makes it begin sooner.
    not_before: Instant,
    is_under_way: bool,
    /// It is to be looked up once more when it ends: what was asked may have changed meanwhile.
    again: bool,
}

impl Lookups {
    fn want(&mut self, names: &BTreeSet<String>) {
        let gone: Vec<_> = self.names.keys().filter(|name| !names.contains(&***name)).cloned().collect();
        gone.iter().for_each(|name| drop(self.remove(name)));
        let now = Instant::now();
        for name in names {
            if !self.names.contains_key(&**name) {
                self.plan(name.as_str().into(), now, now);
            }
        }
    }

    fn plan(&mut self, name: Arc<str>, due: Instant, not_before: Instant) {
        self.waiting.insert((due, Arc::clone(&name)));
        self.untold.insert((due, Arc::clone(&name)));
        self.names.insert(name, Lookup { due, not_before, is_under_way: false, again: false });
    }

    fn remove(&mut self, name: &str) -> Option<(Arc<str>, Lookup)> {
        let (name, lookup) = self.names.remove_entry(name)?;
        let place = (lookup.due, name);
        self.waiting.remove(&place);
        self.untold.remove(&place);
        Some((place.1, lookup))
    }

    fn hurry(&mut self, name: &str, now: Instant) {
        let Some(lookup) = self.names.get_mut(name) else { return };
        let soonest = now.max(lookup.not_before);
        if lookup.is_under_way {
            lookup.again = true;
        } else if soonest < lookup.due
            && let Some((name, lookup)) = self.remove(name)
        {
            self.plan(name, soonest, lookup.not_before);
        }
    }

    /// Begins what is due, as far as not too many are under way.
    fn start<L: Future<Output = Result<IpAddr, String>> + Send + 'static>(
        &mut self,
        now: Instant,
        look_up: impl Fn(String) -> L,
    ) {
        // Those that hang are due again and again: whoever has been due for longest is next.
        while self.under_way.len() < AT_ONCE
            && self.waiting.first().is_some_and(|(due, _)| *due <= now)
            && let Some((_, name)) = self.waiting.pop_first()
        {
            if let Some(lookup) = self.names.get_mut(&name) {
                (lookup.is_under_way, lookup.again) = (true, false);
            }
            let (name, result) = (name.to_string(), look_up(name.to_string()));
            self.under_way.spawn(async move { (name, result.await) });
        }
    }

    /// Those that take too long and have not been told to.
    fn late(&mut self, now: Instant, limit: Duration) -> Vec<String> {
        let mut late = Vec::new();
        while self.untold.first().is_some_and(|(due, _)| now >= *due + limit)
            && let Some((_, name)) = self.untold.pop_first()
        {
            late.push(name.to_string());
        }
        late
    }

    /// One has ended. Whether anybody wants to know.
    fn ended(&mut self, name: &str, resolved: bool, apart: Duration) -> bool {
        let Some((name, lookup)) = self.remove(name) else { return false };
        let pause = match (lookup.again, resolved) {
            (true, _) => apart,
            (false, true) => AGAIN,
            (false, false) => RETRY,
        };
        let now = Instant::now();
        self.plan(name, now + pause, now + apart);
        true
    }

    /// When something is to be begun or told.
    fn next(&self, limit: Duration) -> Instant {
        let is_full = self.under_way.len() >= AT_ONCE;
        let begins = self.waiting.first().filter(|_| !is_full).map(|(due, _)| *due);
        let is_late = self.untold.first().map(|(due, _)| *due + limit);
        begins.into_iter().chain(is_late).min().unwrap_or_else(|| Instant::now() + AGAIN)
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
    const PACE: Pace = Pace { limit: SHORT, apart: SHORT };

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
            tokio::spawn(resolve_by(by_name, PACE, to_resolve, hurries.clone(), results));
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
    async fn a_name_is_looked_up_again_soon_when_its_peer_is_to_be_tried() {
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
    async fn a_name_is_not_looked_up_more_often_than_that_however_often_it_is_asked_for() {
        let resolver = Resolver::start(&["peer.example"]);
        let begun = Instant::now();
        while begun.elapsed() < 6 * SHORT {
            resolver.hurries.ask("peer.example");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let most = 1 + (begun.elapsed().as_millis() / SHORT.as_millis()) as usize;
        assert!((2..=most).contains(&resolver.asked()), "{} times, at most {most}", resolver.asked());
    }

    #[tokio::test]
    async fn what_nobody_wants_any_more_is_neither_begun_nor_told_of() {
        let (now, mut lookups) = (Instant::now(), Lookups::default());
        lookups.want(&["a".to_owned(), "b".to_owned()].into());
        lookups.hurry("b", now);
        lookups.want(&["b".to_owned()].into());
        assert_eq!([lookups.names.len(), lookups.waiting.len(), lookups.untold.len()], [1; 3]);
        lookups.start(now + SHORT, |_| std::future::ready(Ok(ADDRESS)));
        assert!(!lookups.ended("a", true, SHORT) && lookups.ended("b", true, SHORT));
        assert_eq!(lookups.late(now + AGAIN + 2 * SHORT, SHORT), ["b"]);
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
            lookups.plan(format!("name-{age}").into(), due, due);
        }
        lookups.start(now, |_| std::future::pending());
        let begun = lookups.names.iter().filter(|(_, lookup)| lookup.is_under_way).map(|(name, _)| name.to_string());
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
