//! How fast bytes come, or are taken, while they are waited for.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

/// Sees to it that bytes which have to come do so at a certain rate, while they are waited for.
pub(super) struct Pace {
    rate: u32,
    /// Bytes that came, and how long they were waited for, since the rate was last found good.
    passed: usize,
    waited: Duration,
    /// Since when more are waited for.
    since: Option<Instant>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    /// `rate` in bytes a second; 0 is no bound.
    pub fn new(rate: u32) -> Self {
        Pace { rate, passed: 0, waited: Duration::ZERO, since: None, alarm: None }
    }

    /// Notes that so many bytes came.
    pub fn passed(&mut self, bytes: usize) {
        self.passed += bytes;
        if let Some(since) = self.since.take() {
            self.waited += since.elapsed();
        }
    }

    /// To be called while bytes are waited for; ready once too few came in [`WINDOW`] of waiting.
    pub fn poll_slow(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.rate == 0 {
            return Poll::Pending;
        }
        let mut since = *self.since.get_or_insert_with(Instant::now);
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep(WINDOW)));
        loop {
            // It is not set anew for each byte, so it may ring early.
            ready!(alarm.as_mut().poll(cx));
            let waited = self.waited + since.elapsed();
            let rest = if waited < WINDOW {
                WINDOW - waited
            } else if (self.passed as u64) < u64::from(self.rate) * waited.as_secs() {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "the client is too slow"));
            } else {
                since = Instant::now();
                (self.passed, self.waited, self.since) = (0, Duration::ZERO, Some(since));
                WINDOW
            };
            alarm.as_mut().reset(Instant::now() + rest);
        }
    }
}

/// How long a client is watched before it is found too slow.
const WINDOW: Duration = Duration::from_secs(10);
