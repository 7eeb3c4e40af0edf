//! Whose turn it is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

/// Turns of all hosts.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    per_host: usize,
    all: Arc<Semaphore>,
    lanes: Mutex<HashMap<Box<str>, Arc<Lane>>>,
}

#[derive(Debug)]
struct Lane {
    permits: Arc<Semaphore>,
    clock: Mutex<Clock>,
}

#[derive(Debug)]
struct Clock {
    /// No request starts before.
    next: Instant,
    /// From the start of one to that of the next.
    interval: Duration,
}

/// A request may run; until this is dropped, it counts as running.
#[derive(Debug)]
pub(super) struct Turn {
    lane: Arc<Lane>,
    _own: Option<OwnedSemaphorePermit>,
    _all: Option<OwnedSemaphorePermit>,
}

impl Pace {
    pub fn new(rate: f64, per_host: usize, concurrency: usize) -> Self {
        let rate = if rate.is_finite() { rate.clamp(SLOWEST, FASTEST) } else { SLOWEST };
        Pace {
            interval: Duration::from_secs_f64(1.0 / rate),
            per_host: per_host.max(1),
            all: Arc::new(Semaphore::new(concurrency.clamp(1, Semaphore::MAX_PERMITS))),
            lanes: Mutex::default(),
        }
    }

    /// Waits until a host may be asked again. Who waits for its host's time takes no room from other hosts; who waits for
    /// room asks again whether it is time: requests that piled up do not start together.
    pub async fn turn(&self, host: &str) -> Turn {
        let lane = self.lane(host);
        // Nobody closes a semaphore.
        let own = lane.permits.clone().acquire_owned().await.ok();
        loop {
            let next = lane.lock().next;
            sleep_until(next).await;
            let all = self.all.clone().acquire_owned().await.ok();
            let mut clock = lane.lock();
            let now = Instant::now();
            if clock.next <= now {
                clock.next = now + clock.interval;
                drop(clock);
                return Turn { lane, _own: own, _all: all };
            }
        }
    }

    /// From now on, requests to a host are at least so far apart.
    pub fn slow_down(&self, host: &str, interval: Duration) {
        let lane = self.lane(host);
        let mut clock = lane.lock();
        let interval = interval.min(LONGEST_DELAY);
        if interval > clock.interval {
            let more = interval - clock.interval;
            clock.next += more;
            clock.interval = interval;
        }
    }

    fn lane(&self, host: &str) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(host) {
            return lane.clone();
        }
        if lanes.len() >= LANES {
            let now = Instant::now();
            let base = self.interval;
            lanes.retain(|_, lane| {
                let clock = lane.lock();
                Arc::strong_count(lane) > 1 || clock.next > now || clock.interval > base
            });
        }
        let lane = Arc::new(Lane {
            permits: Arc::new(Semaphore::new(self.per_host)),
            clock: Mutex::new(Clock { next: Instant::now(), interval: self.interval }),
        });
        lanes.insert(host.into(), lane.clone());
        lane
    }
}

impl Lane {
    fn lock(&self) -> MutexGuard<'_, Clock> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The host wants to be left alone for a while.
    pub fn pause(&self, wait: Duration) {
        let mut clock = self.lane.lock();
        clock.next = clock.next.max(Instant::now() + wait.min(LONGEST_PAUSE));
    }
}

/// Requests in a second.
const SLOWEST: f64 = 0.001;
const FASTEST: f64 = 1000.0;

/// Longest `Crawl-delay` that is kept to: with more, a site would never be done.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// Longest `Retry-After` that is kept to.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Hosts that are remembered before those are forgotten whose turn it is anyway.
const LANES: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn starts_are_apart() {
        let pace = Arc::new(Pace::new(10.0, 3, 4));
        let begin = Instant::now();
        let mut tasks = Vec::new();
        for n in 0..40 {
            let pace = pace.clone();
            tasks.push(tokio::spawn(async move {
                let host = ["a.example", "b.example"][n % 2];
                let turn = pace.turn(host).await;
                let start = begin.elapsed();
                // Longer than the pace: room is short now and then.
                tokio::time::sleep(Duration::from_millis(170 * (n as u64 % 5))).await;
                drop(turn);
                (host, start)
            }));
        }
        let mut starts = Vec::new();
        for task in tasks {
            starts.push(task.await.unwrap());
        }
        starts.sort_by_key(|&(host, start)| (host, start));
        for pair in starts.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
            assert!(pair[1].1 - pair[0].1 >= Duration::from_millis(100), "{pair:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_peace_has_it() {
        let pace = Pace::new(1000.0, 1, 1);
        let begin = Instant::now();
        pace.turn("a.example").await.pause(Duration::from_secs(7));
        drop(pace.turn("b.example").await);
        assert!(begin.elapsed() < Duration::from_secs(1));
        drop(pace.turn("a.example").await);
        assert!(begin.elapsed() >= Duration::from_secs(7));
        pace.slow_down("a.example", Duration::from_secs(20));
        drop(pace.turn("a.example").await);
        drop(pace.turn("a.example").await);
        assert!(begin.elapsed() >= Duration::from_secs(47));
        pace.turn("a.example").await.pause(Duration::from_secs(86_400));
        drop(pace.turn("a.example").await);
        assert!(begin.elapsed() < Duration::from_secs(400), "no server stops everything for a day");
    }
}
