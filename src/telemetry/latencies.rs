//! How long answers take.
//!
//! A histogram for each kind of answer, in shards: threads that answer at the same time should not wait for one another's
//! cache lines.

use std::{
    array,
    sync::atomic::{AtomicU64, Ordering},
};

use prometheus::proto::{Bucket, Histogram};

use super::pipeline::thread_number;
use crate::model::Outcome;

/// Histograms of the microseconds that answers took.
#[derive(Debug)]
pub(super) struct Latencies {
    shards: Box<[Shard]>,
}

#[derive(Debug)]
#[repr(align(128))]
struct Shard([Counts; Outcome::ALL.len()]);

#[derive(Debug, Default)]
struct Counts {
    /// By bucket; the last is for what is over all bounds.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    /// Microseconds.
    sum: AtomicU64,
}

impl Default for Latencies {
    fn default() -> Self {
        let shard = || Shard(array::from_fn(|_| Counts::default()));
        Latencies { shards: (0..SHARDS).map(|_| shard()).collect() }
    }
}

impl Latencies {
    /// Counts an answer.
    pub fn observe(&self, outcome: Outcome, took: u32) {
        let shard = thread_number() % SHARDS;
        let counts = &self.shards[shard].0[outcome as usize];
        let bucket = BOUNDS.iter().position(|&bound| took <= bound).unwrap_or(BOUNDS.len());
        counts.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        counts.sum.fetch_add(took.into(), Ordering::Relaxed);
    }

    /// The histogram of each kind of answer that there was.
    pub fn histograms(&self) -> impl Iterator<Item = (Outcome, Histogram)> {
        Outcome::ALL.iter().filter_map(|&outcome| {
            let counts = || self.shards.iter().map(move |shard| &shard.0[outcome as usize]);
            let mut total = 0;
            // What is above all bounds is in the total alone: the encoder makes the bucket `+Inf` of that.
            let buckets = (0..=BOUNDS.len()).filter_map(|bucket| {
                total += counts().map(|counts| counts.buckets[bucket].load(Ordering::Relaxed)).sum::<u64>();
                let mut shown = Bucket::default();
                shown.set_cumulative_count(total);
                shown.set_upper_bound(f64::from(*BOUNDS.get(bucket)?) / 1e6);
                Some(shown)
            });
            let buckets: Vec<Bucket> = buckets.collect();
            let sum: u64 = counts().map(|counts| counts.sum.load(Ordering::Relaxed)).sum();
            let mut histogram = Histogram::default();
            histogram.set_sample_count(total);
            histogram.set_sample_sum(sum as f64 / 1e6);
            histogram.set_bucket(buckets);
            (total > 0).then_some((outcome, histogram))
        })
    }
}

/// Upper bounds in microseconds. A redirect takes tens of them; what takes seconds is a slow platform or client.
const BOUNDS: [u32; 18] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000,
];

const SHARDS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_in_the_first_bucket_that_holds_it_and_in_all_above() {
        let latencies = Latencies::default();
        for took in [0, 50, 51, 30_000_000, 30_000_001] {
            latencies.observe(Outcome::Gone, took);
        }
        let shown: Vec<_> = latencies.histograms().collect();
        assert!(shown.len() == 1 && shown[0].0 == Outcome::Gone);
        let histogram = &shown[0].1;
        let counts: Vec<u64> = histogram.get_bucket().iter().map(|bucket| bucket.cumulative_count()).collect();
        assert_eq!((counts[0], counts[1], counts[17], counts.len()), (2, 3, 4, 18));
        assert_eq!((histogram.get_sample_count(), histogram.get_sample_sum()), (5, 60.000_102));
        assert_eq!(histogram.get_bucket()[0].upper_bound(), 50e-6);
    }
}
