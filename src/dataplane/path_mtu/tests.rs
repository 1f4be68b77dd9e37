use super::*;

const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 2));
const V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2));
const RAISE: Duration = Duration::from_secs(600);

/// A table with one path, and the network under it: what it takes, and whether its routers say so.
struct Lab {
    table: PathMtus,
    peer: IpAddr,
    takes: u16,
    device: u16,
    routers_tell: bool,
    /// Not even small packets are answered in time.
    slow: bool,
    /// IKE's cipher has blocks of so many bytes.
    block: u16,
    start: Instant,
    now: Instant,
    probes: Vec<u16>,
    changes: Vec<(u16, Learned)>,
    changed: Instant,
}

impl Lab {
    fn new(peer: IpAddr, takes: u16) -> Self {
        let start = Instant::now();
        let mut table = PathMtus::new(1500, RAISE);
        table.join(peer, || 1500, start);
        let (probes, changes) = (Vec::new(), Vec::new());
        let (device, routers_tell, slow, block) = (1500, false, false, 1);
        Self {
            table,
            peer,
            takes,
            device,
            routers_tell,
            slow,
            block,
            start,
            now: start,
            probes,
            changes,
            changed: start,
        }
    }

    /// Lets time pass, with or without large packets. An answer takes 10 ms, a repeated probe's a second more.
    fn run(&mut self, time: Duration, large: bool) {
        let end = self.now + time;
        while self.now < end {
            if large {
                self.table.large_sent(self.peer, self.now);
            }
            self.table.look(self.now);
            self.work();
            self.now += Duration::from_millis(100);
        }
    }

    fn work(&mut self) {
        while let Some(step) = self.table.next(self.now) {
            match step {
                Step::AskDevice { peer } => self.table.device(peer, self.device, self.now),
                Step::Change { mtu, learned, .. } => {
                    self.changes.push((mtu, learned));
                    self.changed = self.now;
                }
                Step::Probe { peer, size } => {
                    let sent = size - size % self.block;
                    self.probes.push(size);
                    let in_time = sent <= self.takes && !self.slow;
                    self.now += Duration::from_millis(if in_time { 10 } else { 1010 });
                    if sent > self.takes && self.routers_tell {
                        self.table.told(peer, self.takes, self.now);
                    }
                    self.table.probed(peer, size, sent, in_time, self.now);
                }
            }
        }
    }

    fn mtu(&self) -> u16 {
        self.table.mtu(self.peer)
    }

    fn seconds(&self) -> u64 {
        self.now.duration_since(self.start).as_secs()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_idle_path_is_not_probed() {
    let mut lab = Lab::new(V4, 1500);
    lab.run(RAISE * 3, false);
    assert_eq!((lab.probes.len(), lab.mtu()), (0, 1500));
}

#[test]
fn a_path_that_takes_everything_is_confirmed_every_two_seconds_under_traffic() {
    let mut lab = Lab::new(V4, 1500);
    lab.run(20 * SECOND, true);
    assert!((9..=11).contains(&lab.probes.len()), "{:?}", lab.probes);
    assert!(lab.probes.iter().all(|size| *size == 1500) && lab.changes.is_empty());
}

#[test]
fn a_black_hole_is_found_and_measured() {
    for (peer, takes, found) in [
        (V4, 1492, 1492),
        (V4, 1400, 1400),
        (V4, 1401, 1400),
        (V4, 1000, 768),
        (V4, 576, 576),
        (V6, 1460, 1460),
        (V6, 1280, 1280),
    ] {
        let mut lab = Lab::new(peer, takes);
        lab.run(8 * SECOND, true);
        assert_eq!(lab.mtu(), found, "{peer} {takes}");
    }
}

#[test]
fn a_path_that_shrinks_under_a_stream_has_another_mtu_within_six_seconds() {
    for offset in 0..20 {
        let mut lab = Lab::new(V4, 1500);
        lab.run(10 * SECOND + offset * Duration::from_millis(100), true);
        lab.takes = 1400;
        let shrunk = lab.now;
        while lab.mtu() > 1400 {
            lab.run(Duration::from_millis(100), true);
        }
        // A sender of TCP that began to repeat after 0.2 seconds tries again after 6.2.
        assert!(lab.changed - shrunk < 6 * SECOND, "{:?}", lab.changed - shrunk);
    }
}

#[test]
fn one_lost_probe_changes_nothing() {
    let mut lab = Lab::new(V4, 1500);
    lab.table.large_sent(V4, lab.now);
    assert_eq!(lab.table.next(lab.now), Some(Step::Probe { peer: V4, size: 1500 }));
    lab.table.probed(V4, 1500, 1500, false, lab.now);
    lab.run(5 * SECOND, true);
    assert_eq!((lab.mtu(), lab.changes.len()), (1500, 0));
}

#[test]
fn a_path_where_nothing_is_in_time_keeps_its_mtu() {
    let mut lab = Lab::new(V4, 1500);
    lab.slow = true;
    lab.run(50 * SECOND, true);
    assert_eq!((lab.mtu(), &lab.probes[..]), (1500, &[1500, 1500, 1280, 1280, 576, 576][..]), "and is left alone");
}

#[test]
fn a_router_is_believed_at_once_within_reason() {
    let mut lab = Lab::new(V4, 1500);
    for unlikely in [0, 68, 575, 1500, 9000] {
        lab.table.told(V4, unlikely, lab.now);
        assert_eq!(lab.mtu(), 1500, "{unlikely}");
    }
    lab.table.told(V4, 1400, lab.now);
    lab.work();
    assert_eq!(lab.changes, [(1400, Learned::Router)]);
    lab.table.told(V4, 1450, lab.now);
    assert_eq!(lab.mtu(), 1400);

    let mut lab = Lab::new(V6, 1500);
    lab.table.told(V6, 1279, lab.now);
    assert_eq!(lab.mtu(), 1500);
    lab.table.told(V6, 1280, lab.now);
    assert_eq!(lab.mtu(), 1280);
}

#[test]
fn a_router_that_answers_a_probe_names_the_exact_size() {
    let mut lab = Lab::new(V4, 1437);
    lab.routers_tell = true;
    lab.run(2 * SECOND, true);
    assert_eq!(lab.mtu(), 1437);
    assert!(lab.seconds() <= 4);
}

#[test]
fn a_path_that_grows_is_found_within_the_time_also_when_it_is_idle() {
    for large in [true, false] {
        let mut lab = Lab::new(V4, 1400);
        lab.table.told(V4, 1400, lab.now);
        lab.run(RAISE, large);
        assert_eq!(lab.mtu(), 1400, "nothing was gained by trying");
        lab.takes = 1500;
        let grown = lab.now;
        while lab.mtu() < 1500 {
            lab.run(Duration::from_millis(100), large);
        }
        assert!(lab.changed - grown <= RAISE, "{:?}", lab.changed - grown);
    }
}

#[test]
fn the_device_is_the_ceiling_and_may_grow() {
    let mut lab = Lab::new(V4, 1500);
    lab.device = 1460;
    lab.table.large_sent(V4, lab.now);
    lab.table.refused(lab.now);
    lab.work();
    assert_eq!(lab.changes, [(1460, Learned::Device)]);
    lab.run(RAISE * 2, true);
    assert!(lab.probes[1..].iter().all(|size| *size <= 1460), "{:?}", lab.probes);
    lab.device = 1500;
    lab.run(RAISE, true);
    assert_eq!(lab.mtu(), 1500);
}

#[test]
fn who_sent_nothing_large_was_not_refused() {
    let mut lab = Lab::new(V4, 1500);
    lab.table.refused(lab.now);
    assert_eq!(lab.table.next(lab.now), None);
}

#[test]
fn what_a_cipher_with_blocks_could_show_is_what_is_believed() {
    for (takes, found) in [(1492, 1488), (1500, 1488), (1400, 1392)] {
        let mut lab = Lab::new(V4, takes);
        lab.block = 16;
        lab.run(10 * SECOND, true);
        assert_eq!(lab.mtu(), found, "{takes}");
        let probes = lab.probes.len();
        lab.run(RAISE, false);
        assert!(lab.probes.len() < probes + 20, "a search ends: {:?}", lab.probes);
    }
    let mut lab = Lab::new(V4, 1400);
    lab.block = 16;
    lab.table.told(V4, 1400, lab.now);
    lab.run(10 * SECOND, true);
    assert_eq!(lab.mtu(), 1400, "the router knows better");
}

#[test]
fn what_was_learned_outlives_its_users_for_a_while() {
    let mut lab = Lab::new(V4, 1400);
    lab.table.told(V4, 1400, lab.now);
    lab.table.leave(V4);
    lab.run(60 * SECOND, false);
    lab.table.join(V4, || 1500, lab.now);
    assert_eq!(lab.mtu(), 1400);
    lab.table.leave(V4);
    lab.run(RAISE, false);
    lab.table.join(V4, || 1500, lab.now);
    assert_eq!(lab.mtu(), 1500);
}

#[test]
fn an_answer_about_another_size_or_none_at_all_leaves_everything_as_it_is() {
    let mut lab = Lab::new(V4, 1500);
    lab.table.large_sent(V4, lab.now);
    assert_eq!(lab.table.next(lab.now), Some(Step::Probe { peer: V4, size: 1500 }));
    lab.table.told(V4, 1400, lab.now);
    for _ in 0..LOSSES {
        lab.table.probed(V4, 1500, 1500, false, lab.now);
    }
    assert_eq!(lab.mtu(), 1400);
    // And one that is never answered is given up.
    while lab.table.next(lab.now).is_some() {}
    lab.now += UNANSWERED;
    lab.table.look(lab.now);
    assert_eq!((lab.table.next(lab.now), lab.mtu()), (None, 1400));
}
