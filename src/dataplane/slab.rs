//! Values at stable places: adding and removing one moves no other.

/// Values by place. A place is given again once its value was removed.
///
/// Each value has an allocation of its own: a slab of thousands of SAs grows by the size of a pointer each, without
/// copying keys about and without room for as many again.
pub struct Slab<T> {
    places: Vec<Option<Box<T>>>,
    free: Vec<usize>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Adds a value and returns its place.
    pub fn insert(&mut self, value: T) -> usize {
        let value = Some(Box::new(value));
        if let Some(place) = self.free.pop() {
            self.places[place] = value;
            return place;
        }
        self.places.push(value);
        self.places.len() - 1
    }

    /// Takes the value at a place out.
    pub fn remove(&mut self, place: usize) -> Option<Box<T>> {
        let value = self.places.get_mut(place)?.take()?;
        self.free.push(place);
        Some(value)
    }

    /// The value at a place, to be changed.
    pub fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.places.get_mut(place)?.as_deref_mut()
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_stable_and_used_again() {
        let mut slab = Slab::default();
        let places: Vec<usize> = (0..4).map(|n| slab.insert(n)).collect();
        assert_eq!(slab.remove(places[1]).as_deref(), Some(&1));
        assert_eq!((slab.remove(places[1]), slab.get_mut(places[1]).copied(), slab.len()), (None, None, 3));
        assert_eq!([0, 2, 3].map(|n| slab.get_mut(places[n]).copied()), [Some(0), Some(2), Some(3)]);
        assert_eq!(slab.insert(9), places[1]);
        *slab.get_mut(places[1]).unwrap() += 1;
        assert_eq!((slab.get_mut(places[1]).copied(), slab.len(), slab.get_mut(99)), (Some(10), 4, None));
    }
}
