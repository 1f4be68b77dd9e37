use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn take(window: &mut ReplayWindow, sequence: u64) -> Result<bool, Replayed> {
    let fresh = window.check(sequence)?;
    Ok(window.accept(fresh))
}

#[test]
fn sizes_are_clamped_and_rounded_up() {
    for (asked, given) in
        [(0, 64), (64, 64), (65, 128), (1000, 1024), (1024, 1024), (65_536, 65_536), (u32::MAX, 65_536)]
    {
        assert_eq!(ReplayWindow::new(asked).size(), given);
    }
}

#[test]
fn each_number_passes_once() {
    let mut window = ReplayWindow::new(64);
    assert_eq!(take(&mut window, 0), Err(Replayed::BeforeWindow), "zero is never sent");
    assert_eq!(take(&mut window, 1), Ok(true));
    assert_eq!(take(&mut window, 1), Err(Replayed::Seen));
    assert_eq!(take(&mut window, 5), Ok(true));
    assert_eq!(take(&mut window, 3), Ok(false));
    assert_eq!(take(&mut window, 3), Err(Replayed::Seen));
    assert_eq!(window.highest(), 5);
}

#[test]
fn the_left_edge_is_exact() {
    for size in [64, 128, 1024, 65_536] {
        let mut window = ReplayWindow::new(size);
        let top = u64::from(size) * 3 + 7;
        take(&mut window, top).unwrap();
        let oldest = top - u64::from(size) + 1;
        assert_eq!(take(&mut window, oldest - 1), Err(Replayed::BeforeWindow));
        assert_eq!(take(&mut window, oldest), Ok(false));
        assert_eq!(take(&mut window, oldest), Err(Replayed::Seen));
    }
}

#[test]
fn a_check_alone_changes_nothing() {
    let mut window = ReplayWindow::new(64);
    take(&mut window, 10).unwrap();
    drop(window.check(1_000_000).unwrap());
    assert_eq!(window.highest(), 10);
    assert!(take(&mut window, 9).is_ok(), "a forged high number must not move the window");
}

#[test]
fn a_long_jump_forgets_everything_before() {
    let mut window = ReplayWindow::new(1024);
    (1..=1024).for_each(|n| assert!(take(&mut window, n).is_ok()));
    take(&mut window, u64::from(u32::MAX) * 5).unwrap();
    for n in 1..1024 {
        assert!(take(&mut window, u64::from(u32::MAX) * 5 - n).is_ok(), "{n} below the top was never seen");
    }
}

#[test]
fn extended_numbers_are_found_on_both_sides_of_a_wrap() {
    let mut window = ReplayWindow::new(64);
    let wrap = 1u64 << 32;
    take(&mut window, wrap - 10).unwrap();
    assert_eq!(window.extend((wrap - 5) as u32), wrap - 5);
    assert_eq!(window.extend(3), wrap + 3, "right of the window is the next subspace");
    take(&mut window, wrap + 3).unwrap();
    assert_eq!(window.extend((wrap - 5) as u32), wrap - 5, "the window reaches back over the wrap");
    assert_eq!(window.extend(2), wrap + 2);
    assert_eq!(window.extend(1000), wrap + 1000);
    take(&mut window, wrap + 1000).unwrap();
    assert_eq!(window.extend((wrap - 5) as u32), 2 * wrap - 5, "now it would be a number of the far future");
}

#[test]
fn the_first_packets_of_an_extended_sa_are_in_the_first_subspace() {
    let window = ReplayWindow::new(1024);
    assert_eq!(window.extend(1), 1);
    assert_eq!(window.extend(70_000), 70_000);
    assert_eq!(window.extend(u32::MAX), u64::from(u32::MAX), "there is no subspace before the first");
}

proptest! {
    /// Against a set that remembers everything.
    #[test]
    fn agrees_with_a_set_that_remembers_everything(
        size in 64u32..4096,
        start in 0u64..u64::MAX / 2,
        steps in proptest::collection::vec((-5000i64..5000, 0u8..20), 1..400),
    ) {
        let mut window = ReplayWindow::new(size);
        let mut seen = BTreeSet::new();
        let mut highest = 0u64;
        let mut at = start;
        for (step, jump) in steps {
            let stretch = if jump == 0 { 1000 } else { 1 };
            at = at.saturating_add_signed(step * stretch);
            let expected = if at == 0 || (at <= highest && highest - at >= window.size()) {
                Err(Replayed::BeforeWindow)
            } else if seen.contains(&at) {
                Err(Replayed::Seen)
            } else {
                Ok(at > highest)
            };
            prop_assert_eq!(take(&mut window, at), expected, "sequence {}", at);
            if expected.is_ok() {
                seen.insert(at);
                highest = highest.max(at);
            }
        }
    }

    /// A packet inside the window, or less than a subspace ahead of it, is found whole from its low half.
    #[test]
    fn extension_recovers_what_was_sent(size in 64u32..65_536, highest in 1u64..u64::MAX / 2, ahead in 0u64..1 << 31, behind in any::<u64>()) {
        let mut window = ReplayWindow::new(size);
        take(&mut window, highest).unwrap();
        let forward = highest + ahead;
        prop_assert_eq!(window.extend(forward as u32), forward);
        let backward = highest.saturating_sub(behind % window.size());
        prop_assert_eq!(window.extend(backward as u32), backward);
    }
}
