//! How serving ends: who still accepts, which connections are still open, and when they must be gone.
//!
//! Owns: the one state that listeners, connections and the process look at, and the count of open connections. Never
//! does: signals or time (the server decides when), closing (each connection closes itself).
//!
//! Invariants: the state only goes forward; a connection that was counted is uncounted exactly once, whatever ends it.
//!
//! Called by: `server` (moves it on), `workers` (stop accepting), the door (a [`Guard`] for each connection).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::timeout,
};

/// How far the end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Connections are accepted and kept alive.
    Serving,
    /// No connection is accepted any more. Requests that have begun are answered, then their connection is closed
    /// (`Connection: close`, GOAWAY); idle connections are closed a second later, as a request may be on its way. One that
    /// was accepted but has not sent its first request yet is not idle: its client was never told to go elsewhere.
    Draining,
    /// What is still open is cut off.
    Over,
}

/// The end of a set of listeners and their connections.
#[derive(Debug)]
pub struct Drain {
    state: watch::Sender<State>,
    shutdown: watch::Sender<bool>,
    /// The state again, to be read for each answer: a watch takes a lock.
    serving: AtomicBool,
    open: AtomicUsize,
    idle: Notify,
}

/// An open connection: it counts as open until this is dropped.
#[derive(Debug)]
pub struct Guard(Arc<Drain>);

impl Drain {
    /// Serving, and nobody there yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Drain {
            state: watch::Sender::new(State::Serving),
            shutdown: watch::Sender::new(false),
            serving: AtomicBool::new(true),
            open: AtomicUsize::new(0),
            idle: Notify::new(),
        })
    }

    /// Whether connections are kept alive; cheap enough to ask for each answer.
    pub fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Relaxed)
    }

    /// The state, to be waited for.
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Turns true when draining begins: what Pingora's applications call the shutdown watch.
    pub fn shutdown_watch(&self) -> watch::Receiver<bool> {
        self.shutdown.subscribe()
    }

    /// Counts a connection. To be called before anything waits, so that none is missed at the end.
    pub fn guard(self: &Arc<Self>) -> Guard {
        self.open.fetch_add(1, Ordering::Relaxed);
        Guard(self.clone())
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Ends accepting and keep-alive.
    pub fn close(&self) {
        self.advance(State::Draining);
    }

    /// Cuts off what is still open.
    pub fn end(&self) {
        self.advance(State::Over);
    }

    /// Waits until no connection is open, but no longer than `bound`; whether that came to be.
    pub async fn wait_idle(&self, bound: Duration) -> bool {
        let idle = async {
            loop {
                let notified = self.idle.notified();
                tokio::pin!(notified);
                // From here on the last guard's word is not missed.
                notified.as_mut().enable();
                if self.open.load(Ordering::SeqCst) == 0 {
                    return;
                }
                notified.await;
            }
        };
        timeout(bound, idle).await.is_ok()
    }

    fn advance(&self, to: State) {
        self.serving.store(false, Ordering::Relaxed);
        self.state.send_if_modified(|state| {
            let forward = *state < to;
            *state = (*state).max(to);
            forward
        });
        self.shutdown.send_replace(true);
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_connection_ends_the_wait() {
        let drain = Drain::new();
        assert!(drain.wait_idle(Duration::ZERO).await, "nobody is there");
        let (one, other) = (drain.guard(), drain.guard());
        assert_eq!(drain.open(), 2);
        drop(one);
        assert!(!drain.wait_idle(Duration::from_millis(1)).await);
        let waiting = tokio::spawn({
            let drain = drain.clone();
            async move { drain.wait_idle(Duration::from_secs(60)).await }
        });
        tokio::task::yield_now().await;
        drop(other);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn the_state_goes_forward_only() {
        let drain = Drain::new();
        let (mut state, mut shutdown) = (drain.watch(), drain.shutdown_watch());
        assert!(drain.is_serving() && *state.borrow() == State::Serving && !*shutdown.borrow());
        drain.close();
        assert!(!drain.is_serving() && shutdown.wait_for(|&stop| stop).await.is_ok());
        assert_eq!(*state.borrow_and_update(), State::Draining);
        drain.end();
        drain.close();
        assert_eq!(*state.borrow_and_update(), State::Over);
    }
}
