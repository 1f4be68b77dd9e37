//! Prefixes that hold others, and those that lie in them.
use std::collections::BTreeSet;
use std::ops::Bound;

use ipnet::IpNet;

/// The prefix of this length that holds `prefix`.
pub fn shortened(prefix: &IpNet, length: u8) -> Option<IpNet> {
    Some(IpNet::new(prefix.network(), length).ok()?.trunc())
}

/// Those of `prefixes` that are longer than `holder` and lie in it. The cost grows with their number only.
pub fn inside<'p>(holder: &IpNet, prefixes: &'p BTreeSet<IpNet>) -> impl Iterator<Item = IpNet> + use<'p> {
    let holder = *holder;
    // In their order, those that lie in a prefix follow it.
    let following = prefixes.range((Bound::Excluded(holder), Bound::Unbounded)).copied();
    following.take_while(move |prefix| holder.contains(prefix))
}

/// Of the prefixes that hold `prefix`, itself included, those that `are_there`, the shortest first.
pub fn holders<F: Fn(&IpNet) -> bool>(prefix: &IpNet, are_there: F) -> impl Iterator<Item = IpNet> + use<F> {
    let prefix = *prefix;
    (0..=prefix.prefix_len()).filter_map(move |length| shortened(&prefix, length)).filter(are_there)
}

/// The same without the prefix itself.
pub fn shorter_holders<F: Fn(&IpNet) -> bool>(prefix: &IpNet, are_there: F) -> impl Iterator<Item = IpNet> + use<F> {
    let length = prefix.prefix_len();
    holders(prefix, are_there).filter(move |holder| holder.prefix_len() < length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_in_a_prefix_is_found_and_nothing_else() {
        let nets =
            |texts: &[&str]| -> BTreeSet<IpNet> { texts.iter().map(|text| text.parse().expect("a prefix")).collect() };
        let all =
            nets(&["0.0.0.0/0", "10.0.0.0/8", "10.0.0.0/16", "10.0.0.0/24", "10.0.0.7/32", "10.1.0.0/16", "::/0"]);
        let of = |holder: &str| inside(&holder.parse().expect("a prefix"), &all).collect::<BTreeSet<_>>();
        assert_eq!(of("10.0.0.0/16"), nets(&["10.0.0.0/24", "10.0.0.7/32"]));
        assert_eq!(of("10.1.0.0/16"), nets(&[]));
        assert_eq!(of("0.0.0.0/0").len(), 5);
        assert_eq!(of("::/0"), nets(&[]));
        let prefix = "10.0.0.7/32".parse().expect("a prefix");
        assert_eq!(
            holders(&prefix, |net| all.contains(net)).map(|net| net.prefix_len()).collect::<Vec<_>>(),
            [0, 8, 16, 24, 32]
        );
        assert_eq!(shorter_holders(&prefix, |net| all.contains(net)).last(), "10.0.0.0/24".parse().ok());
        assert_eq!(
            shortened(&"10.0.0.7/32".parse().expect("a prefix"), 16),
            all.get(&"10.0.0.0/16".parse().expect("a prefix")).copied()
        );
    }
}
