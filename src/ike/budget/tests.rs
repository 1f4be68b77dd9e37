use std::net::{IpAddr, Ipv4Addr};

use super::*;
use crate::crypto::fake::{SLOW_KEY_EXCHANGE, SeededEntropy};

const MILLISECOND: Duration = Duration::from_millis(1);

fn budget(now: Instant) -> Budget {
    Budget::new(&mut SeededEntropy::new(1), now)
}

fn asker(host: u32, proven: bool, configured: bool) -> Asker {
    let address = IpAddr::V4(Ipv4Addr::from_bits(0x0b00_0000 + host));
    Asker { source: Source::of(address), proven, configured }
}

/// How often this is granted when it is asked for every millisecond.
fn granted(begin: Instant, milliseconds: u32, mut ask: impl FnMut(u32, Instant) -> bool) -> usize {
    (0..milliseconds).filter(|number| ask(*number, begin + *number * MILLISECOND)).count()
}

/// Whether a half-open IKE SA with the slowest method is granted.
fn pays(budget: &mut Budget, asker: Asker, now: Instant) -> bool {
    budget.key_exchange(asker, &SLOW_KEY_EXCHANGE, now).is_some()
}

/// What a half-open IKE SA with the slowest method costs.
const COST: Duration = Duration::from_micros(11_000);

#[test]
fn one_source_has_less_than_a_tenth_of_the_time_for_key_exchanges() {
    let now = Instant::now();
    let mut budget = budget(now);
    let time = granted(now, 10_000, |_, at| pays(&mut budget, asker(1, true, false), at)) as u32 * COST;
    assert!((Duration::from_millis(800)..Duration::from_millis(1_000)).contains(&time), "{time:?}");
    assert!(pays(&mut budget, asker(2, true, false), now + 10_000 * MILLISECOND), "another source has its own");
}

#[test]
fn strangers_have_a_quarter_of_the_time_together() {
    let now = Instant::now();
    let mut budget = budget(now);
    let all_are_known = (0..100).filter(|host| pays(&mut budget, asker(*host, true, false), now)).count();
    assert!(all_are_known < 100);
    let ask = |host, at| pays(&mut budget, asker(host % 100, true, false), at);
    let time = granted(now, 30_000, ask) as u32 * COST;
    // What they could have as newcomers is a second at most.
    assert!((Duration::from_millis(7_400)..Duration::from_millis(8_900)).contains(&time), "{time:?}");
    let at = now + 30_000 * MILLISECOND;
    assert!(pays(&mut budget, asker(99_999, true, true), at), "a configured peer is none of them");
    assert!(pays(&mut budget, asker(99_998, true, false), at), "nor does a newcomer wait for them");
}

#[test]
fn newcomers_have_an_eighth_of_the_time_besides() {
    let now = Instant::now();
    let mut budget = budget(now);
    let time = granted(now, 10_000, |host, at| pays(&mut budget, asker(host, true, false), at)) as u32 * COST;
    assert!((Duration::from_millis(4_400)..Duration::from_millis(4_600)).contains(&time), "{time:?}");
}

#[test]
fn the_next_turn_is_when_there_is_time_for_it() {
    let now = Instant::now();
    let mut budget = budget(now);
    while (0..200).any(|host| pays(&mut budget, asker(host, true, false), now)) {}
    let [newcomer, known] = [500, 3].map(|host| {
        let last = budget.last_turn(asker(host, true, false).source, now).expect("it has its own");
        let at = budget.next_turn(last);
        assert!(at > now && !pays(&mut budget, asker(host, true, false), at - Duration::from_micros(1)));
        at
    });
    assert!(pays(&mut budget, asker(500, true, false), newcomer.min(known)));
    while pays(&mut budget, asker(1, true, false), known) {}
    assert_eq!(budget.last_turn(asker(1, true, false).source, known), None, "it has had what each has");
}

#[test]
fn a_configured_peer_with_many_tunnels_has_half_of_the_time_besides_its_own() {
    let now = Instant::now();
    let mut budget = budget(now);
    let ask = |_, at| pays(&mut budget, asker(1, true, true), at);
    let time = granted(now, 10_000, ask) as u32 * COST;
    assert!((Duration::from_millis(5_800)..Duration::from_millis(6_500)).contains(&time), "{time:?}");
    let at = now + 10_000 * MILLISECOND;
    assert!(pays(&mut budget, asker(2, true, true), at), "another one has its own");
}

#[test]
fn who_authenticates_itself_gets_back_what_it_was_charged() {
    let now = Instant::now();
    for (proven, configured) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut budget = budget(now);
        for _ in 0..10_000 {
            let charge = budget.key_exchange(asker(1, proven, configured), &SLOW_KEY_EXCHANGE, now);
            budget.refund(charge.expect("what was given back"));
        }
        // Also what configured peers have together.
        let charges: Vec<_> =
            std::iter::from_fn(|| budget.key_exchange(asker(1, proven, configured), &SLOW_KEY_EXCHANGE, now)).collect();
        charges.iter().for_each(|charge| budget.refund(*charge));
        let again = std::iter::from_fn(|| budget.key_exchange(asker(1, proven, configured), &SLOW_KEY_EXCHANGE, now));
        assert_eq!(again.count(), charges.len());
    }
}

#[test]
fn who_returned_no_cookie_is_to_do_so_when_little_is_left_for_such() {
    let now = Instant::now();
    let mut budget = budget(now);
    let nobody = |host| asker(host, false, true);
    assert!(!budget.needs_cookie(now));
    let times = (0..100).filter(|host| pays(&mut budget, nobody(*host), now)).count();
    assert_eq!(times, 5);
    assert!(budget.needs_cookie(now) && !budget.needs_cookie(now + 1_000 * MILLISECOND));

    let mut budget = self::budget(now);
    assert_eq!((0..1_000).filter(|host| budget.step(nobody(*host), now)).count(), 100);
    assert!(budget.needs_cookie(now) && !budget.needs_cookie(now + 100 * MILLISECOND));
    assert!(budget.step(asker(1, true, false), now), "who returned one is not concerned");
}

#[test]
fn a_step_after_a_cookie_is_refused_to_its_source_alone() {
    let now = Instant::now();
    let mut budget = budget(now);
    let times = granted(now, 10_000, |_, at| budget.step(asker(1, true, false), at));
    assert!((1_000..=1_101).contains(&times), "{times} of 10 000");
    assert_eq!(granted(now, 10_000, |_, at| budget.step(asker(2, true, false), at)), times);
}

#[test]
fn no_kind_of_answer_starves_another_or_a_configured_peer() {
    let now = Instant::now();
    let mut budget = budget(now);
    let flooded =
        granted(now, 1_000, |host, at| budget.unprotected(Unprotected::Version, asker(host, false, false), at));
    assert!((20..=41).contains(&flooded), "{flooded} answers");
    let at = now + 1_000 * MILLISECOND;
    assert!(!budget.unprotected(Unprotected::Version, asker(1_000_000, false, false), at - MILLISECOND));
    for kind in [Unprotected::CriticalPayload, Unprotected::UnknownSpi] {
        assert!(budget.unprotected(kind, asker(1_000_000, false, false), at));
    }
    assert!(budget.unprotected(Unprotected::Version, asker(1_000_000, false, true), at));
    assert!(budget.step(asker(1_000_000, false, false), at));
}

#[test]
fn one_source_does_not_use_up_the_answers_for_all() {
    let now = Instant::now();
    let mut budget = budget(now);
    let own = granted(now, 1_000, |_, at| budget.unprotected(Unprotected::UnknownSpi, asker(1, false, false), at));
    assert!((10..=21).contains(&own), "{own} answers");
    let others = (2..50).filter(|host| {
        let other = asker(*host, false, false);
        budget.unprotected(Unprotected::UnknownSpi, other, now + 1_000 * MILLISECOND)
    });
    assert_eq!(others.count(), 48);
}

#[test]
fn after_a_restart_every_configured_peer_hears_that_its_ike_sa_is_unknown() {
    let now = Instant::now();
    let mut budget = budget(now);
    let of = |host| asker(host, false, true);
    assert_eq!((0..900).filter(|host| budget.unprotected(Unprotected::UnknownSpi, of(*host), now)).count(), 900);
    let now = now + 1_000 * MILLISECOND;
    assert_eq!((0..1_000).filter(|_| budget.unprotected(Unprotected::UnknownSpi, of(1), now)).count(), 200);
}

#[test]
fn failures_that_are_not_told_are_counted_and_their_number_is_told() {
    let now = Instant::now();
    let mut budget = budget(now);
    let told = granted(now, 1_000, |host, at| {
        budget.failure(asker(host, true, false), at) | budget.failure(asker(host, true, true), at)
    });
    assert!(told <= 10, "{told} in a second");
    assert!(budget.take_left_out(now + 4_999 * MILLISECOND).is_none());
    let due = budget.left_out().expect("some").due();
    let left_out = budget.take_left_out(due).expect("some");
    assert!((1_990..=2_000).contains(&(left_out.count as usize)), "{left_out:?}");
    assert_eq!((left_out.span(due), budget.left_out()), (LEFT_OUT_TOLD_AFTER, None));
}

#[test]
fn one_source_does_not_use_up_what_is_told() {
    let now = Instant::now();
    let mut budget = budget(now);
    assert_eq!((0..100).filter(|_| budget.failure(asker(1, true, false), now)).count(), 2);
    assert!(budget.failure(asker(2, true, false), now));
}

#[test]
fn sources_are_spread_over_the_table() {
    let budget = budget(Instant::now());
    let mut counts = vec![0_u32; PLACES];
    for host in 0..PLACES as u32 * 16 {
        counts[budget.place(asker(host, false, false).source)] += 1;
    }
    let (least, most) = (counts.iter().min(), counts.iter().max());
    assert!(least >= Some(&2) && most <= Some(&40), "{least:?} to {most:?}");
}

#[test]
fn an_authenticated_peer_that_fails_again_and_again_is_told_of_a_few_times_and_counted() {
    let now = Instant::now();
    let mut budget = budget(now);
    let id = |peer: u32| Identification::KeyId(peer.to_be_bytes().to_vec());
    let told = granted(now, 60_000, |_, at| budget.failure_of("any", &id(1), at));
    assert!((8..=15).contains(&told), "{told} in a minute");
    let at = now + 60_000 * MILLISECOND;
    assert!(budget.failure_of("any", &id(2), at), "another peer");
    let all = (3..2_003).filter(|peer| budget.failure_of("any", &id(*peer), at)).count();
    assert!((10..=20).contains(&all), "{all} of all peers at once");
    assert!(budget.failure(asker(1, true, true), at), "who has not authenticated itself has its own");
    assert_eq!(budget.left_out().map(|left_out| left_out.count as usize), Some(60_000 - told + 2_000 - all));
}
