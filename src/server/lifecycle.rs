//! From serving to the end: signals, draining.
//!
//! | | |
//! |---|---|
//! | SIGTERM | readiness off → lame-duck time, still accepting → listeners closed → open connections finish, for a bounded time → end |
//! | SIGINT | the same without the lame-duck time |
//! | either again | the next step at once |

use std::{io::Write, sync::Arc};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Mutex, watch},
    time::sleep,
};

use super::sockets::Sockets;
use crate::config::{Gateway, Process};
use crate::door::{Drain, Workers};
use crate::monitor::Monitor;

/// Who stops the gateway.
#[derive(Clone)]
pub(super) enum Stop {
    /// The signals of the process.
    Signals,
    /// Whoever has the sender.
    Asked(watch::Receiver<bool>),
}

/// What accepts and serves connections.
pub(super) struct Serving {
    pub(super) sockets: Sockets,
    pub(super) drain: Arc<Drain>,
    pub(super) workers: Workers,
    pub(super) admin_drain: Arc<Drain>,
    pub(super) admin_workers: Workers,
}

/// Runs a gateway that accepts connections until its end. Pingora waits for it, and then ends the rest.
pub(super) struct Lifecycle {
    process: Process,
    stop: Stop,
    serving: Mutex<Option<Serving>>,
    monitor: Arc<Monitor>,
    welcome: String,
}

impl Lifecycle {
    /// `welcome` is printed once signals are heard.
    pub(super) fn new(gateway: &Gateway, stop: Stop, serving: Serving, monitor: Arc<Monitor>, welcome: String) -> Self {
        Lifecycle { process: gateway.process.clone(), stop, serving: Mutex::new(Some(serving)), monitor, welcome }
    }

    async fn run(&self, mut serving: Serving) {
        let mut orders = Orders::new(self.stop.clone());
        if matches!(self.stop, Stop::Signals) {
            // Nobody may be reading: that is no reason not to serve.
            let _ = std::io::stdout().lock().write_all(self.welcome.as_bytes());
        }
        let order = orders.next().await;
        self.monitor.stop();
        if order == Order::Terminate && !self.process.lame_duck.is_zero() {
            log::info!("stopping: connections are accepted for another {:?}", self.process.lame_duck);
            tokio::select! {
                () = sleep(self.process.lame_duck) => {}
                _ = orders.next() => {}
            }
        }
        serving.close().await;
        let open = serving.drain.open();
        if open > 0 {
            log::info!("stopping: {open} connections are open; they may take {:?} to finish", self.process.drain);
        }
        tokio::select! {
            idle = serving.drain.wait_idle(self.process.drain) => {
                if !idle {
                    log::warn!("stopping: {} connections did not finish in time", serving.drain.open());
                }
            }
            _ = orders.next() => log::warn!("stopping: {} connections are cut off", serving.drain.open()),
        }
        serving.end().await;
    }
}

#[async_trait]
impl ShutdownSignalWatch for Lifecycle {
    async fn recv(&self) -> ShutdownSignal {
        if let Some(serving) = self.serving.lock().await.take() {
            self.run(serving).await;
        }
        ShutdownSignal::GracefulTerminate
    }
}

impl Serving {
    /// Stops listening for citizens; when this returns, nothing is accepted any more.
    async fn close(&mut self) {
        self.drain.close();
        self.sockets.public.clear();
        self.workers.closed().await;
    }

    /// Ends what is still there.
    async fn end(self) {
        self.drain.end();
        self.admin_drain.end();
        let joined = tokio::task::spawn_blocking(|| {
            self.workers.join();
            self.admin_workers.join();
        });
        // A worker that failed has been reported.
        let _ = joined.await;
    }
}

/// What an operator or a service manager wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// SIGTERM: let load balancers notice first.
    Terminate,
    /// SIGINT, or a test: somebody is waiting.
    Interrupt,
}

/// Hears orders, from its creation on.
struct Orders {
    stop: Stop,
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
    /// Heard by `reload`; until it listens, the signal would end the process.
    _hangup: Option<Signal>,
}

impl Orders {
    fn new(stop: Stop) -> Self {
        let hear = |kind| match stop {
            Stop::Signals => signal(kind).inspect_err(|error| log::warn!("signals can't be received: {error}")).ok(),
            Stop::Asked(_) => None,
        };
        Orders {
            terminate: hear(SignalKind::terminate()),
            interrupt: hear(SignalKind::interrupt()),
            _hangup: hear(SignalKind::hangup()),
            stop,
        }
    }

    async fn next(&mut self) -> Order {
        let asked = async {
            match &mut self.stop {
                Stop::Signals => std::future::pending().await,
                Stop::Asked(asked) => {
                    // An error means that whoever could ask is gone.
                    let _ = asked.wait_for(|&stop| stop).await;
                    // Once.
                    self.stop = Stop::Signals;
                }
            }
        };
        tokio::select! {
            () = received(&mut self.terminate) => Order::Terminate,
            () = received(&mut self.interrupt) => Order::Interrupt,
            () = asked => Order::Interrupt,
        }
    }
}

async fn received(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}
