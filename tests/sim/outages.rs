//! Outages of every length: the path is away, an end may have forgotten the other meanwhile, or a NAT its mappings. How long
//! it takes until packets arrive again, and what is left behind.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ipsec_gateway::crypto::fake::SeededEntropy;
use ipsec_gateway::ike::Command;

use crate::network::Quality;
use crate::setup::{LEFT, RIGHT, Setup, name};
use crate::world::{RECOVERY, World};

const SECOND: Duration = Duration::from_secs(1);
/// Between two packets, and between two looks of the data path.
const TICK: Duration = Duration::from_millis(100);
/// A packet that has gone unanswered for so long has IKE ask the peer, and those after it again and again, as in gatewayd.
const UNANSWERED: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_secs(2);
/// Until packets arrive again once the path is back, where an end knows that they wait.
const BACK: Duration = Duration::from_secs(3);
/// Until another way carries them.
const OVER: Duration = Duration::from_secs(5);
/// An IKE SA is not given up sooner.
const PATIENCE: Duration = Duration::from_secs(140);
/// The longest outage, and what one is longer than the one before.
const LONGEST: u64 = 200;
const STEP: u64 = 2;

/// What the data path of one end sees: packets that go out, and whether any come back.
#[derive(Default, Clone, Copy)]
struct Watch {
    sends: bool,
    unanswered: Option<Instant>,
    asked: Option<Instant>,
}

impl Watch {
    /// Sends a packet, if the end sends any. Whether there was an SA for it.
    fn send(&mut self, world: &mut World, side: usize) -> bool {
        if !self.sends {
            return true;
        }
        let sent = world.ends[side].pairs.values().any(|pair| pair.active.is_some() && !pair.retired);
        world.send_through(0, side);
        if sent {
            self.unanswered.get_or_insert(world.now);
        }
        sent
    }

    /// Looks whether the packets are answered, and has IKE ask if not.
    fn look(&mut self, world: &mut World, side: usize) {
        let (now, heard) = (world.now, world.ends[side].heard_esp);
        if self.unanswered.is_some_and(|since| heard >= Some(since)) {
            (self.unanswered, self.asked) = (None, None);
        }
        let Some(since) = self.unanswered else { return };
        let due = self.asked.map_or(now >= since + UNANSWERED, |asked| now >= asked + AGAIN);
        let pair = world.ends[side].pairs.values().find(|pair| pair.active.is_some() && !pair.retired);
        if let Some(inbound_spi) = pair.map(|pair| pair.inbound_spi).filter(|_| due) {
            self.asked = Some(now);
            world.command(side, Command::CheckLiveness { inbound_spi });
        }
    }
}

/// The ends, with what each of their data paths sees.
struct Case {
    world: World,
    watches: [Watch; 2],
}

impl Case {
    fn new(setup: &Setup, seed: u64, sends: [bool; 2]) -> Self {
        let mut world = World::new(setup, seed);
        world.keep_trace();
        world.agree_within(60 * SECOND);
        let watches = sends.map(|sends| Watch { sends, ..Watch::default() });
        Self { world, watches }
    }

    /// Lets a tick pass. Whether both ends had SAs to send on.
    fn tick(&mut self) -> [bool; 2] {
        let had = [LEFT, RIGHT].map(|side| self.watches[side].send(&mut self.world, side));
        self.world.run_for(TICK);
        for side in [LEFT, RIGHT] {
            self.watches[side].look(&mut self.world, side);
        }
        had
    }

    fn run(&mut self, span: Duration) {
        let end = self.world.now + span;
        while self.world.now < end && !self.world.is_violated() {
            self.tick();
        }
    }

    /// Whether a packet of every end that sends has arrived since then.
    fn arrived_since(&self, then: Instant) -> bool {
        let arrived = |side: usize| self.world.ends[1 - side].heard_esp > Some(then);
        [LEFT, RIGHT].into_iter().all(|side| !self.watches[side].sends || arrived(side))
    }

    fn check(&self, what: &str) {
        assert_eq!(self.world.violation, None, "{what}\n{}", self.world.trace());
    }
}

/// One outage.
#[derive(Debug)]
struct Outage {
    length: Duration,
    /// The end that forgets the other half way through.
    forgets: Option<usize>,
    /// Which ends send packets.
    sends: [bool; 2],
    /// The NAT forgets its mappings.
    rebinds: bool,
    setup: Setup,
}

impl Outage {
    fn random(length: Duration, random: &mut SeededEntropy) -> Self {
        let mut one_of = |count: u64| random.next_u64() % count;
        let forgets = [None, None, Some(LEFT), Some(RIGHT)][one_of(4) as usize];
        let sends = [[true, true], [true, false], [false, true], [false, false]][one_of(4) as usize];
        let nat = one_of(2) == 0;
        let mut setup = Setup { nat, ..Setup::plain() };
        let tokens = one_of(2) == 0;
        setup.extensions.iter_mut().for_each(|end| end.quick_crash_detection = tokens);
        setup.children = 1 + one_of(2) as usize;
        Self { length, forgets, sends, rebinds: nat && one_of(2) == 0, setup }
    }

    /// How long it may take once the path is back. The left end initiates. It knows that something is wrong when its packets
    /// go unanswered or it has forgotten everything, and otherwise with its next regular check.
    fn bound(&self) -> Duration {
        let knows = self.sends[LEFT] || self.forgets == Some(LEFT);
        let goes_on = self.forgets.is_none() && !self.rebinds && self.length < PATIENCE;
        if knows || goes_on { BACK } else { self.setup.liveness + BACK }
    }

    /// How long it took until packets arrived; without any, until the ends agreed.
    fn run(&self, seed: u64) -> Duration {
        let mut case = Case::new(&self.setup, seed, self.sends);
        case.run(15 * SECOND);
        case.check("before the outage");
        case.world.must_stay_up(self.forgets.is_none() && self.length < PATIENCE);
        case.world.network.quality = Quality::CUT;
        let (began, mut forgets) = (case.world.now, self.forgets);
        while case.world.now < began + self.length {
            if case.world.now >= began + self.length / 2
                && let Some(side) = forgets.take()
            {
                case.world.restart(side);
            }
            let had = case.tick();
            let lost = |side: &usize| !had[*side] && self.forgets != Some(*side) && case.world.now < began + PATIENCE;
            let lost = [LEFT, RIGHT].into_iter().find(lost);
            assert_eq!(lost.map(name), None, "has no SA to send on: {self:?}\n{}", case.world.trace());
        }
        if let Some(side) = forgets {
            case.world.restart(side);
        }
        case.world.network.quality = Quality::GOOD;
        if let Some(nat) = case.world.network.nat.as_mut().filter(|_| self.rebinds) {
            nat.rebind();
        }
        let back = case.world.now;
        if self.sends == [false, false] {
            case.world.agree_within(self.bound() + 3 * SECOND);
        } else {
            while !case.arrived_since(back + TICK) && case.world.now < back + self.bound() && !case.world.is_violated()
            {
                case.tick();
            }
            if !case.arrived_since(back + TICK) {
                case.world.violate(format!("no packets after {:?}", self.bound()));
            }
        }
        let took = case.world.now - back;
        case.check(&format!("{self:?}"));
        // What waits is over by then, and nothing is left of it.
        case.run(45 * SECOND);
        case.world.settle_within(RECOVERY);
        case.check(&format!("{self:?}"));
        took
    }
}

#[test]
fn packets_arrive_again_soon_after_outages_of_every_length() {
    let lengths = AtomicU64::new(0);
    let worst = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, |threads| threads.get()) {
            scope.spawn(|| {
                loop {
                    let length = lengths.fetch_add(STEP, Ordering::Relaxed);
                    if length > LONGEST {
                        return;
                    }
                    let mut random = SeededEntropy::new(1_000 + length);
                    let outage = Outage::random(Duration::from_secs(length), &mut random);
                    let took = outage.run(random.next_u64());
                    if outage.bound() == BACK {
                        worst.fetch_max(took.as_millis() as u64, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    println!("the longest recovery where an end knew: {} ms", worst.into_inner());
}

#[test]
fn a_standby_connection_carries_within_five_seconds_and_gives_back() {
    for length in [7, 45, 120, 190] {
        for forgets in [None, Some(RIGHT)] {
            let seed = 7 * length + forgets.map_or(0, |_| 1);
            // One gateway with two connections to another site, each in a world of its own; the packets take the standby when
            // the first one's path is silent.
            let [mut first, mut standby] =
                [seed, seed + 500].map(|seed| Case::new(&Setup::plain(), seed, [false, false]));
            for case in [&mut first, &mut standby] {
                case.run(10 * SECOND);
            }
            let tick = |first: &mut Case, standby: &mut Case| {
                let answers = |case: &Case| case.world.ends[LEFT].pairs.values().any(|pair| !pair.silent);
                let over = !answers(first) && answers(standby);
                (first.watches[LEFT].sends, standby.watches[LEFT].sends) = (!over, over);
                // What arrives is answered.
                for case in [&mut *first, &mut *standby] {
                    case.watches[RIGHT].sends =
                        case.world.ends[RIGHT].heard_esp.is_some_and(|at| case.world.now < at + 2 * TICK);
                    case.tick();
                }
                over
            };
            (0..20).for_each(|_| assert!(!tick(&mut first, &mut standby)));
            first.world.network.quality = Quality::CUT;
            let began = first.world.now;
            let seconds = |since: Instant, world: &World| (world.now - since).as_secs_f64();
            while !tick(&mut first, &mut standby) {
                assert!(first.world.now < began + OVER, "not taken over\n{}", first.world.trace());
            }
            let over = seconds(began, &first.world);
            while first.world.now < began + Duration::from_secs(length) {
                assert!(tick(&mut first, &mut standby), "given back to a silent path\n{}", first.world.trace());
            }
            if let Some(side) = forgets {
                first.world.restart(side);
            }
            first.world.network.quality = Quality::GOOD;
            let back = first.world.now;
            while tick(&mut first, &mut standby) {
                assert!(first.world.now < back + BACK, "not given back\n{}", first.world.trace());
            }
            println!(
                "{length} s, {forgets:?}: over after {over:.1} s, back after {:.1} s",
                seconds(back, &first.world)
            );
            for case in [&mut first, &mut standby] {
                case.watches = Default::default();
                case.run(45 * SECOND);
                case.world.settle_within(RECOVERY);
                case.check("afterwards");
            }
        }
    }
}

#[test]
fn an_ike_sa_is_given_up_after_the_time_that_it_is_told_last() {
    for (patience, expected) in [(30, 29..=50), (600, 300..=300)] {
        let mut case = Case::new(&Setup::plain(), u64::from(patience), [true, false]);
        case.run(5 * SECOND);
        case.world.command(LEFT, Command::GiveUpAfter(patience * SECOND));
        case.world.must_stay_up(false);
        case.world.network.quality = Quality::CUT;
        let cut = case.world.now;
        while case.tick()[LEFT] && case.world.now < cut + 300 * SECOND {}
        let took = (case.world.now - cut).as_secs();
        assert!(expected.contains(&took), "told {patience} s, took {took} s\n{}", case.world.trace());
    }
}
