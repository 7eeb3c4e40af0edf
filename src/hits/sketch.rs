//! The URLs of a site that are asked for most, in bounded memory.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::Answer;

/// A space-saving sketch (Metwally, Agrawal and El Abbadi, *Efficient computation of frequent and top-k elements in data
/// streams*, 2005) of URLs and how they were answered, each with a value that is begun anew whenever it comes in.
///
/// While there are no more than its capacity, it is a plain table. After that, a new one takes the place of the one with
/// the least count, and goes on from that count. So with N things counted and m places, none with more than N/m is left out,
/// and what a value has seen since it came in is too little by at most N/m, and never too much.
#[derive(Debug)]
pub(super) struct Sketch<V> {
    capacity: usize,
    entries: Vec<Entry<V>>,
    table: HashTable<u32>,
    /// Numbers of entries, as a heap by their counts, the least first. Empty while all fit in.
    heap: Vec<u32>,
    hasher: RandomState,
}

#[derive(Debug)]
struct Entry<V> {
    url: Box<str>,
    answer: Answer,
    hash: u64,
    /// What the sketch takes its count for: at least what it is.
    count: u64,
    /// Where it is in the heap.
    place: u32,
    value: V,
}

/// What a sketch keeps for a URL.
pub(super) trait Value: Default {
    /// Bytes that it may hold beside its own.
    const HELD: usize;
}

impl<V: Value> Sketch<V> {
    /// An empty one with this many places.
    pub fn new(capacity: usize) -> Self {
        Sketch {
            capacity: capacity.clamp(1, u32::MAX as usize),
            entries: Vec::new(),
            table: HashTable::new(),
            heap: Vec::new(),
            hasher: RandomState::default(),
        }
    }

    /// Counts one, and gives out its value, to be brought up to date. What is new must fit into `room` (bytes), which it
    /// shortens; if there is neither room nor a place to take, there is no value.
    pub fn count(&mut self, url: &str, answer: Answer, room: &mut usize) -> Option<&mut V> {
        let hash = self.hasher.hash_one((url, answer));
        let is_it = |&number: &u32| {
            let entry = &self.entries[number as usize];
            entry.answer == answer && *entry.url == *url
        };
        let number = match self.table.find(hash, is_it) {
            Some(&number) => {
                let entry = &mut self.entries[number as usize];
                entry.count += 1;
                let place = entry.place as usize;
                self.sink(place);
                number
            }
            None if self.has_place(url, *room) => {
                *room -= Self::cost(url);
                let number = self.entries.len() as u32;
                self.entries.push(Entry { url: url.into(), answer, hash, count: 1, place: 0, value: V::default() });
                self.enter(hash, number);
                number
            }
            None => self.take_place(url, answer, hash, room)?,
        };
        Some(&mut self.entries[number as usize].value)
    }

    /// How many are told apart now.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// All of them.
    pub fn into_values(self) -> impl Iterator<Item = (Box<str>, Answer, V)> {
        self.entries.into_iter().map(|entry| (entry.url, entry.answer, entry.value))
    }

    /// Bytes of memory that a URL takes, the tables' spare room included.
    fn cost(url: &str) -> usize {
        // A vector that grows is half empty at worst.
        url.len() + V::HELD + 2 * size_of::<Entry<V>>() + 4 * size_of::<u32>()
    }

    fn has_place(&self, url: &str, room: usize) -> bool {
        self.heap.is_empty() && self.entries.len() < self.capacity && room >= Self::cost(url)
    }

    /// Puts a new one in the place of the one that is asked for least.
    fn take_place(&mut self, url: &str, answer: Answer, hash: u64, room: &mut usize) -> Option<u32> {
        if self.heap.is_empty() {
            self.begin_heap();
        }
        let number = *self.heap.first()?;
        let entry = &mut self.entries[number as usize];
        *room = (*room + entry.url.len()).checked_sub(url.len())?;
        if let Ok(old) = self.table.find_entry(entry.hash, |&other| other == number) {
            old.remove();
        }
        *entry =
            Entry { url: url.into(), answer, hash, count: entry.count + 1, place: entry.place, value: V::default() };
        self.enter(hash, number);
        self.sink(0);
        Some(number)
    }

    fn enter(&mut self, hash: u64, number: u32) {
        let entries = &self.entries;
        self.table.insert_unique(hash, number, |&number| entries[number as usize].hash);
    }

    fn begin_heap(&mut self) {
        self.heap = (0..self.entries.len() as u32).collect();
        // What is sorted is a heap.
        self.heap.sort_unstable_by_key(|&number| self.entries[number as usize].count);
        for (place, &number) in (0..).zip(&self.heap) {
            self.entries[number as usize].place = place;
        }
    }

    /// Restores the heap after the count at `place` has grown.
    fn sink(&mut self, mut place: usize) {
        let Sketch { heap, entries, .. } = self;
        let count = |heap: &[u32], entries: &[Entry<V>], place: usize| {
            heap.get(place).map_or(u64::MAX, |&number| entries[number as usize].count)
        };
        while place < heap.len() {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            let least = if count(heap, entries, right) < count(heap, entries, left) { right } else { left };
            if count(heap, entries, least) >= count(heap, entries, place) {
                return;
            }
            heap.swap(place, least);
            entries[heap[place] as usize].place = place as u32;
            entries[heap[least] as usize].place = least as u32;
            place = least;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::Outcome;

    impl Value for u64 {
        const HELD: usize = 0;
    }

    const ANSWER: Answer = Answer { outcome: Outcome::NotFound, status: 404, unmapped: true };

    /// What a sketch of `capacity` says of a stream, beside the truth.
    fn run(capacity: usize, stream: &[u32]) -> (HashMap<String, u64>, HashMap<String, u64>) {
        let mut sketch = Sketch::<u64>::new(capacity);
        let mut truth = HashMap::new();
        let mut room = usize::MAX;
        for thing in stream {
            let url = format!("/{thing}");
            *sketch.count(&url, ANSWER, &mut room).unwrap() += 1;
            *truth.entry(url).or_default() += 1;
            // The heap is one, and everybody knows where they are.
            for (place, &number) in sketch.heap.iter().enumerate() {
                assert_eq!(sketch.entries[number as usize].place as usize, place);
                let parent = sketch.heap[place.saturating_sub(1) / 2];
                assert!(sketch.entries[parent as usize].count <= sketch.entries[number as usize].count);
            }
            assert!(sketch.len() <= capacity && sketch.table.len() == sketch.len());
        }
        assert_eq!(sketch.entries.iter().map(|entry| entry.count).sum::<u64>(), stream.len() as u64);
        (sketch.into_values().map(|(url, _, hits)| (url.into(), hits)).collect(), truth)
    }

    fn check(capacity: usize, stream: &[u32]) {
        let (counted, truth) = run(capacity, stream);
        let bound = (stream.len() / capacity) as u64;
        for (url, &hits) in &truth {
            match counted.get(url) {
                Some(&count) => assert!(count <= hits && hits - count <= bound, "{url}: {count} of {hits}, ± {bound}"),
                None => assert!(hits <= bound, "{url}: {hits} hits, and it is not there"),
            }
        }
        if truth.len() <= capacity {
            assert_eq!(counted, truth, "all fit in: the counts are exact");
        }
    }

    proptest! {
        #[test]
        fn errors_are_bounded_whatever_comes(capacity in 1..40usize, stream in prop::collection::vec(0..60u32, 0..800)) {
            check(capacity, &stream);
        }

        #[test]
        fn errors_are_bounded_where_few_urls_have_most_hits(
            capacity in 5..60usize,
            stream in prop::collection::vec((1..u32::MAX).prop_map(|n| (u32::MAX / n).min(5_000)), 0..2_000),
        ) {
            check(capacity, &stream);
        }
    }

    #[test]
    fn a_flood_of_new_urls_drives_no_popular_one_out() {
        // Adversarial: what is popular comes first and then never again, but for every tenth.
        let mut stream = vec![1; 300];
        for n in 0..2_000 {
            stream.push(100 + n);
            if n % 10 == 0 {
                stream.push(2);
            }
        }
        check(20, &stream);
        let (counted, _) = run(20, &stream);
        assert_eq!(counted.get("/1"), Some(&300));
        assert!(counted["/2"] > 80, "{counted:?}");
    }

    #[test]
    fn memory_is_bounded() {
        let mut sketch = Sketch::<u64>::new(1_000);
        let mut room = 10 * Sketch::<u64>::cost("/1234567");
        for n in 0..5_000 {
            sketch.count(&format!("/{n:07}"), ANSWER, &mut room).unwrap();
        }
        assert_eq!((sketch.len(), room), (10, 0));
        // One that is too long for what is left is not told apart.
        assert!(sketch.count("/a-longer-url", ANSWER, &mut room).is_none());
        assert_eq!((sketch.len(), room), (10, 0));
        assert!(Sketch::<u64>::new(10).count("/", ANSWER, &mut 0).is_none());
    }

    #[test]
    fn answers_are_told_apart() {
        let mut sketch = Sketch::<u64>::new(10);
        let other = Answer { outcome: Outcome::Redirect, status: 301, unmapped: false };
        for answer in [ANSWER, other, ANSWER] {
            *sketch.count("/a", answer, &mut 10_000).unwrap() += 1;
        }
        let mut all: Vec<_> = sketch.into_values().map(|(_, answer, hits)| (answer.status, hits)).collect();
        all.sort_unstable();
        assert_eq!(all, [(301, 1), (404, 2)]);
    }
}
