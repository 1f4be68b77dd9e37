//! Ordered maps and sets of thousands whose copies share what they have in common: a copy costs some pointers, a change of one
//! value the part that it stands in, and what two of them differ by is found without a look at what they share.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many entries a part has at most. It is copied when one of them changes while another copy of the map shares it.
const MOST: usize = 64;

/// An ordered map, in parts none of which is empty.
#[derive(Clone)]
pub struct SharedMap<K, V>(Vec<Arc<Vec<(K, V)>>>);

impl<K, V> Default for SharedMap<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for SharedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().flat_map(|part| part.iter()).map(|(key, value)| (key, value))).finish()
    }
}

impl<K: Ord, V> SharedMap<K, V> {
    /// Every key with its value, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().flat_map(|part| part.iter()).map(|(key, value)| (key, value))
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        let part = self.0.get(self.part(key)?)?;
        Some(&part[part.binary_search_by(|(at, _)| at.cmp(key)).ok()?].1)
    }

    /// The number of the part that a key belongs to; none while there is no part.
    fn part(&self, key: &K) -> Option<usize> {
        let behind = self.0.partition_point(|part| part.first().is_some_and(|(first, _)| first <= key));
        (!self.0.is_empty()).then(|| behind.saturating_sub(1))
    }

    /// The entries of the parts that the other map has not.
    fn apart<'a>(&'a self, other: &Self) -> impl Iterator<Item = &'a (K, V)> + use<'a, K, V> {
        let theirs: HashSet<_> = other.0.iter().map(Arc::as_ptr).collect();
        self.0.iter().filter(move |part| !theirs.contains(&Arc::as_ptr(part))).flat_map(|part| part.iter())
    }
}

impl<K: Ord + Clone, V: Clone> SharedMap<K, V> {
    /// Gives a key this value; answers the one that it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let Some(at) = self.part(&key) else {
            self.0.push(Arc::new(vec![(key, value)]));
            return None;
        };
        let part = Arc::make_mut(&mut self.0[at]);
        match part.binary_search_by(|(at, _)| at.cmp(&key)) {
            Ok(place) => return Some(std::mem::replace(&mut part[place].1, value)),
            Err(place) => part.insert(place, (key, value)),
        }
        if part.len() > MOST {
            // What grows at its end leaves full parts behind.
            let half = if at + 1 == self.0.len() { MOST } else { MOST / 2 };
            let rest = Arc::make_mut(&mut self.0[at]).split_off(half);
            self.0.insert(at + 1, Arc::new(rest));
        }
        None
    }

    /// Takes a key out; answers the value that it had.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let at = self.part(key)?;
        let place = self.0[at].binary_search_by(|(at, _)| at.cmp(key)).ok()?;
        let part = Arc::make_mut(&mut self.0[at]);
        let (_, value) = part.remove(place);
        if part.is_empty() {
            self.0.remove(at);
        } else if !self.join(at) && at > 0 {
            self.join(at - 1);
        }
        Some(value)
    }

    /// Makes one part of this and the next one, if both are small.
    fn join(&mut self, at: usize) -> bool {
        let [one, next] = [at, at + 1].map(|at| self.0.get(at).map_or(MOST, |part| part.len()));
        let small = one + next <= MOST / 2;
        if small {
            let next = self.0.remove(at + 1);
            Arc::make_mut(&mut self.0[at]).extend_from_slice(&next);
        }
        small
    }
}

/// An ordered set.
#[derive(Clone)]
pub struct SharedSet<T>(SharedMap<T, ()>);

impl<T> Default for SharedSet<T> {
    fn default() -> Self {
        Self(SharedMap::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for SharedSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.0.iter().flat_map(|part| part.iter()).map(|(value, ())| value)).finish()
    }
}

impl<T: Ord> PartialEq for SharedSet<T> {
    fn eq(&self, other: &Self) -> bool {
        let [one, another] = [(self, other), (other, self)].map(|(set, other)| set.0.apart(&other.0));
        one.eq(another)
    }
}

impl<T: Ord> Eq for SharedSet<T> {}

impl<T: Ord> SharedSet<T> {
    /// The values in their order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(value, ())| value)
    }

    /// The values that are not less than this one, in their order.
    pub fn starting_at<'a>(&'a self, first: &T) -> impl Iterator<Item = &'a T> + use<'a, T> {
        let at = self.0.part(first).unwrap_or_default();
        let (parts, behind) = self.0.0[at..].split_at(self.0.0.len().min(1));
        let part = parts.first().map_or(&[][..], |part| &part[part.partition_point(|(value, ())| value < first)..]);
        part.iter().chain(behind.iter().flat_map(|part| part.iter())).map(|(value, ())| value)
    }

    /// The greatest value that is less than this one.
    pub fn last_before(&self, value: &T) -> Option<&T> {
        let at = self.0.part(value)?;
        let less = |part: &Arc<Vec<(T, ())>>| part.partition_point(|(known, ())| known < value);
        let last = |part: &'_ Arc<Vec<(T, ())>>| less(part).checked_sub(1);
        let (at, place) = match last(&self.0.0[at]) {
            Some(place) => (at, place),
            None => (at.checked_sub(1)?, last(self.0.0.get(at.checked_sub(1)?)?)?),
        };
        Some(&self.0.0[at][place].0)
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.0.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.0.iter().map(|part| part.len()).sum()
    }

    /// Whether the value is there.
    pub fn contains(&self, value: &T) -> bool {
        self.0.get(value).is_some()
    }

    /// What this set has and the other has not, in order.
    pub fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a T> {
        let mut others = other.0.apart(&self.0).peekable();
        self.0.apart(&other.0).map(|(value, ())| value).filter(move |value| {
            while others.next_if(|(other, ())| other < *value).is_some() {}
            others.peek().is_none_or(|(other, ())| other != *value)
        })
    }

    /// What one of the two sets has and the other has not.
    pub fn differing<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a T> {
        self.without(other).chain(other.without(self))
    }
}

impl<T: Ord + Clone> SharedSet<T> {
    /// Puts a value in. Whether it was not there.
    pub fn insert(&mut self, value: T) -> bool {
        // A part is not copied for what it has.
        !self.contains(&value) && self.0.insert(value, ()).is_none()
    }

    /// Takes a value out. Whether it was there.
    pub fn remove(&mut self, value: &T) -> bool {
        self.0.remove(value).is_some()
    }

    /// What either of the two sets has, at the cost of the smaller one.
    pub fn union(&self, other: &Self) -> Self {
        let (large, small) = if self.len() < other.len() { (other, self) } else { (self, other) };
        let mut all = large.clone();
        all.extend(small.iter().cloned());
        all
    }
}

impl<T: Ord + Clone> Extend<T> for SharedSet<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, values: I) {
        values.into_iter().for_each(|value| _ = self.insert(value));
    }
}

impl<T: Ord + Clone> FromIterator<T> for SharedSet<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        let mut set = Self::default();
        set.extend(values);
        set
    }
}

impl<T: Ord + Clone, const N: usize> From<[T; N]> for SharedSet<T> {
    fn from(values: [T; N]) -> Self {
        values.into_iter().collect()
    }
}

impl<T: Ord + Serialize> Serialize for SharedSet<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de, T: Ord + Clone + Deserialize<'de>> Deserialize<'de> for SharedSet<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|values: Vec<T>| values.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_an_ordered_set_and_its_copies_stay_as_they_were(
            before in proptest::collection::vec(any::<u16>().prop_map(|n| n % 700), 0..700),
            changes in proptest::collection::vec((any::<bool>(), any::<u16>().prop_map(|n| n % 700)), 0..700),
            from in any::<u16>().prop_map(|n| n % 700),
        ) {
            let (mut set, mut model): (SharedSet<u16>, BTreeSet<u16>) = (before.iter().copied().collect(), before.into_iter().collect());
            let (copy, as_it_was) = (set.clone(), model.clone());
            for (comes, value) in changes {
                let (news, expected) = match comes {
                    true => (set.insert(value), model.insert(value)),
                    false => (set.remove(&value), model.remove(&value)),
                };
                prop_assert_eq!(news, expected);
            }
            prop_assert!(set.iter().eq(&model) && copy.iter().eq(&as_it_was));
            prop_assert!((0..700).all(|value| set.contains(&value) == model.contains(&value)));
            prop_assert!(set.starting_at(&from).eq(model.range(from..)));
            prop_assert!(set.without(&copy).eq(model.difference(&as_it_was)));
            prop_assert_eq!(set.differing(&copy).collect::<BTreeSet<_>>(), model.symmetric_difference(&as_it_was).collect());
            prop_assert!(set.union(&copy).iter().eq(model.union(&as_it_was)));
            prop_assert_eq!((set.len(), set.is_empty(), set == copy), (model.len(), model.is_empty(), model == as_it_was));
            let anew: SharedSet<u16> = model.iter().copied().collect();
            prop_assert!(set == anew && set.without(&anew).next().is_none());
            prop_assert!(set.0.0.iter().all(|part| (1..=MOST).contains(&part.len())));
            prop_assert!(set.0.0.windows(2).all(|two| two[0].len() + two[1].len() > MOST / 2));
        }
    }

    #[test]
    fn a_change_of_one_among_thousands_copies_the_part_that_it_stands_in() {
        let mut map = SharedMap::default();
        let mut model = BTreeMap::new();
        for n in 0..8000 {
            map.insert(n, n);
            model.insert(n, n);
        }
        let copy = map.clone();
        assert_eq!((map.insert(4000, 1), map.remove(&7), map.insert(8000, 2)), (Some(4000), Some(7), None));
        model.extend([(4000, 1), (8000, 2)]);
        model.remove(&7);
        assert!(map.iter().eq(&model));
        assert!(map.apart(&copy).count() <= 3 * MOST && map.0.len() <= 8000 / MOST + 2, "{} parts", map.0.len());
        assert_eq!((copy.get(&4000), copy.get(&7), copy.get(&8000)), (Some(&4000), Some(&7), None));
    }
}
