//! What comes most often, in bounded memory: the frequent items of Misra and Gries, with all that is kept of each.
//!
//! As long as there is room, everything is there and exact. When there is none, half of what there is goes: the weight in the
//! middle is taken off all, and what has none left is dropped. So no count is too high, and none is too low by more than
//! [`Frequent::missed`], which is at most the number of additions divided by half of the room.

use std::{collections::HashMap, hash::BuildHasherDefault};

use super::distinct::Given;

/// Items by their hashes.
#[derive(Debug)]
pub struct Frequent<T> {
    items: HashMap<u64, Item<T>, BuildHasherDefault<Given>>,
    room: usize,
    missed: u64,
}

/// Something that is counted.
#[derive(Debug)]
pub struct Item<T> {
    weight: u64,
    value: T,
}

/// What can be added up.
pub trait Merge {
    /// Adds what is known of the same item from elsewhere.
    fn merge(&mut self, other: Self);
}

impl<T> Item<T> {
    /// One more of it, to be changed in place.
    pub fn again(&mut self) -> &mut T {
        self.weight += 1;
        &mut self.value
    }
}

impl<T: Merge> Frequent<T> {
    /// Nothing yet, and room for `room` items.
    pub fn new(room: usize) -> Self {
        Frequent { items: HashMap::default(), room: room.max(1), missed: 0 }
    }

    /// One more of an item, to be changed in place; `new` makes it if it isn't there.
    pub fn add(&mut self, hash: u64, new: impl FnOnce() -> T, change: impl FnOnce(&mut T)) {
        let item = self.items.entry(hash).or_insert_with(|| Item { weight: 0, value: new() });
        change(item.again());
        self.shrink();
    }

    /// An item that is there, to be told of [`Item::again`].
    pub fn find(&mut self, hash: u64) -> Option<&mut Item<T>> {
        self.items.get_mut(&hash)
    }

    /// Adds what another has.
    pub fn merge(&mut self, other: Self) {
        for (hash, item) in other.items {
            match self.items.get_mut(&hash) {
                Some(own) => {
                    own.weight += item.weight;
                    own.value.merge(item.value);
                }
                None => _ = self.items.insert(hash, item),
            }
        }
        self.missed += other.missed;
        self.shrink();
    }

    /// By how much a count may be too low; 0 if nothing was dropped.
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// What there is, in no order.
    pub fn into_values(self) -> impl Iterator<Item = T> {
        self.items.into_values().map(|item| item.value)
    }

    fn shrink(&mut self) {
        if self.items.len() <= self.room {
            return;
        }
        let mut weights: Vec<u64> = self.items.values().map(|item| item.weight).collect();
        let middle = weights.len() / 2;
        let (_, &mut off, _) = weights.select_nth_unstable(middle);
        self.missed += off;
        self.items.retain(|_, item| {
            item.weight = item.weight.saturating_sub(off);
            item.weight > 0
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::BuildHasher;

    #[derive(Debug, PartialEq)]
    struct Count(u64, u64);

    impl Merge for Count {
        fn merge(&mut self, other: Self) {
            self.1 += other.1;
        }
    }

    fn add(frequent: &mut Frequent<Count>, thing: u64) {
        let hash = foldhash::quality::FixedState::with_seed(7).hash_one(thing);
        frequent.add(hash, || Count(thing, 0), |count| count.1 += 1);
    }

    fn top(frequent: Frequent<Count>) -> Vec<Count> {
        let mut values: Vec<Count> = frequent.into_values().collect();
        values.sort_by_key(|count| std::cmp::Reverse((count.1, count.0)));
        values
    }

    #[test]
    fn exact_while_there_is_room() {
        let (mut one, mut other) = (Frequent::new(100), Frequent::new(100));
        for n in 0..100 {
            (0..=n).for_each(|_| add(&mut one, n));
            add(&mut other, n);
        }
        one.merge(other);
        assert_eq!(one.missed(), 0);
        assert_eq!(top(one)[..2], [Count(99, 101), Count(98, 100)]);
    }

    #[test]
    fn what_is_frequent_stays_whatever_comes() {
        let mut frequent = Frequent::new(1000);
        for n in 0..200_000u64 {
            add(&mut frequent, 1_000_000 + n);
            if n % 20 == 0 {
                add(&mut frequent, n / 20 % 10);
            }
        }
        let missed = frequent.missed();
        assert!(missed > 0 && missed <= 210_000 / 500, "{missed}");
        let top = top(frequent);
        for count in &top[..10] {
            assert!(count.0 < 10 && count.1 <= 1000 && count.1 + missed >= 1000, "{count:?}");
        }
    }
}
