//! Connections of HTTP/1 that wait for their next request.
//!
//! Each has a task that watches it while it waits, so that one which the origin closes, or over which something comes that
//! nobody has asked for, is gone before a request takes it.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    thread::{self, ThreadId},
    time::Duration,
};

use pingora::protocols::Stream;
use tokio::{
    io::{AsyncRead, ReadBuf},
    task::unconstrained,
    time::{Instant, Sleep, sleep},
};

use super::POOL;

/// A connection of HTTP/1 to an origin. Dropped, it is closed.
#[derive(Debug)]
pub struct Wire {
    /// The connection itself.
    pub stream: Stream,
    /// Rings when the origin has been silent for too long; set by whoever uses the connection.
    pub alarm: Option<Pin<Box<Sleep>>>,
    /// Where requests are written before they are sent.
    pub out: Vec<u8>,
    /// The pool that it belongs to: one that was abandoned since takes it no more.
    generation: u64,
    /// Where it waits, once it has waited.
    slot: Option<Arc<Slot>>,
}

/// The connections to one address that wait.
#[derive(Debug, Default)]
pub(super) struct Idle {
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    generation: u64,
    /// The last is that which waits since the shortest time.
    waiting: Vec<Arc<Slot>>,
}

/// Where one connection waits.
#[derive(Debug)]
struct Slot {
    /// The thread whose events tell of it.
    thread: ThreadId,
    place: Mutex<Place>,
}

#[derive(Debug)]
struct Place {
    wire: Option<Box<Wire>>,
    since: Instant,
    /// It will not come back.
    is_over: bool,
    watcher: Option<Waker>,
}

impl Wire {
    pub(super) fn new(stream: Stream, idle: &Idle) -> Box<Self> {
        let generation = lock(&idle.slots).generation;
        Box::new(Wire { stream, alarm: None, out: Vec::new(), generation, slot: None })
    }

    /// Whether nothing comes from the origin, not even the end.
    fn is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        let mut byte = [0];
        pin!(unconstrained(poll_fn(|cx| Pin::new(&mut self.stream).poll_read(cx, &mut ReadBuf::new(&mut byte)))))
            .poll(cx)
            .is_pending()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.end();
        }
    }
}

impl Idle {
    /// A connection that was quiet until now, of this thread if there is one.
    pub fn take(&self) -> Option<Box<Wire>> {
        let own = thread::current().id();
        loop {
            let slot = {
                let waiting = &mut lock(&self.slots).waiting;
                let last = waiting.len().checked_sub(1)?;
                let near = waiting.iter().rev().take(NEAR).position(|slot| slot.thread == own);
                waiting.remove(near.map_or(last, |near| last - near))
            };
            let Some(mut wire) = lock(&slot.place).wire.take() else { continue };
            WAITING.fetch_sub(1, Relaxed);
            if slot.thread != own {
                // It belongs to the thread's own clock.
                wire.alarm = None;
            }
            wire.slot = Some(slot);
            if wire.is_quiet(&mut Context::from_waker(Waker::noop())) {
                return Some(wire);
            }
        }
    }

    /// Lets a connection wait for so long.
    pub fn keep(self: &Arc<Self>, mut wire: Box<Wire>, time: Duration) {
        if time.is_zero() || WAITING.load(Relaxed) >= POOL {
            return;
        }
        let watched = wire.slot.take();
        let is_new = watched.is_none();
        let slot = watched.unwrap_or_else(|| {
            let place = Place { wire: None, since: Instant::now(), is_over: false, watcher: None };
            Arc::new(Slot { thread: thread::current().id(), place: place.into() })
        });
        {
            let mut slots = lock(&self.slots);
            if slots.generation != wire.generation {
                wire.slot = Some(slot);
                return;
            }
            WAITING.fetch_add(1, Relaxed);
            let mut place = lock(&slot.place);
            place.wire = Some(wire);
            place.since = Instant::now();
            // It has to be told, since whoever used the connection was told instead.
            if let Some(watcher) = &place.watcher {
                watcher.wake_by_ref();
            }
            drop(place);
            slots.waiting.push(slot.clone());
        }
        if is_new {
            tokio::spawn(watch(slot, Arc::downgrade(self), time));
        }
    }

    /// Closes those that wait, and those that are used when they are done.
    pub fn abandon(&self) {
        let slots = {
            let mut slots = lock(&self.slots);
            slots.generation += 1;
            std::mem::take(&mut slots.waiting)
        };
        slots.iter().for_each(|slot| slot.end());
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.abandon();
    }
}

impl Slot {
    /// Closes the connection, if it waits, and ends the watch.
    fn end(&self) {
        let mut place = lock(&self.place);
        place.is_over = true;
        let wire = place.wire.take();
        let watcher = place.watcher.take();
        drop(place);
        if wire.is_some() {
            WAITING.fetch_sub(1, Relaxed);
        }
        watcher.into_iter().for_each(Waker::wake);
    }
}

/// Watches a connection whenever it waits, until it is over.
async fn watch(slot: Arc<Slot>, idle: Weak<Idle>, time: Duration) {
    let mut alarm = pin!(sleep(time));
    poll_fn(|cx| {
        let mut place = lock(&slot.place);
        if place.is_over {
            return Poll::Ready(());
        }
        if place.watcher.as_ref().is_none_or(|watcher| !watcher.will_wake(cx.waker())) {
            place.watcher = Some(cx.waker().clone());
        }
        if place.wire.as_mut().is_some_and(|wire| !wire.is_quiet(cx)) {
            return Poll::Ready(());
        }
        while alarm.as_mut().poll(cx).is_ready() {
            // It is not set anew each time the connection waits.
            let now = Instant::now();
            let end = if place.wire.is_some() { place.since + time } else { now + time };
            if end <= now {
                return Poll::Ready(());
            }
            alarm.as_mut().reset(end);
        }
        Poll::Pending
    })
    .await;
    slot.end();
    if let Some(idle) = idle.upgrade() {
        lock(&idle.slots).waiting.retain(|other| !Arc::ptr_eq(other, &slot));
    }
}

/// What is under these locks is whole between any two statements.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections that wait, to all origins.
static WAITING: AtomicUsize = AtomicUsize::new(0);

/// How many of those that wait are looked at for one of the own thread.
const NEAR: usize = 64;
