//! A list whose items are made when they are asked for.

use std::cell::OnceCell;

/// Items that take their place together.
const BLOCK: usize = 64;

/// So many items, next to none of which may ever be asked for: as long as none of a block is, that takes no room.
pub struct OnDemand<T> {
    blocks: Box<[OnceCell<Block<T>>]>,
}

type Block<T> = Box<[OnceCell<Box<T>>]>;

impl<T> OnDemand<T> {
    /// A list with `count` items, or some more.
    pub fn new(count: usize) -> Self {
        Self { blocks: (0..count.div_ceil(BLOCK)).map(|_| OnceCell::new()).collect() }
    }

    /// An item, which is made by the first who asks; `None` behind the end.
    pub fn get(&self, number: usize, make: impl FnOnce() -> T) -> Option<&T> {
        let block = self.blocks.get(number / BLOCK)?.get_or_init(|| (0..BLOCK).map(|_| OnceCell::new()).collect());
        Some(block.get(number % BLOCK)?.get_or_init(|| Box::new(make())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_made_once_with_room_for_its_block_alone() {
        let list = OnDemand::new(1000);
        assert_eq!(list.get(700, || 1), Some(&1));
        assert_eq!(list.get(700, || 2), Some(&1));
        assert_eq!(list.get(701, || 3), Some(&3));
        assert_eq!(list.get(2000, || 4), None);
        assert_eq!(list.blocks.iter().filter(|block| block.get().is_some()).count(), 1);
    }
}
