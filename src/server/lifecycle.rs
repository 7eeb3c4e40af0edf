//! From serving to the end: signals, draining, upgrades.
//!
//! | | |
//! |---|---|
//! | SIGTERM | readiness off → lame-duck time, still accepting → listeners closed → open connections finish, for a bounded time → end |
//! | SIGINT | the same without the lame-duck time |
//! | either again | the next step at once |
//! | SIGQUIT, `waypost upgrade` | a new process takes over (see `upgrade`) → listeners closed → as above |

use std::{io::Write, os::unix::net::UnixStream, sync::Arc};

use async_trait::async_trait;
use pingora::server::{ShutdownSignal, ShutdownSignalWatch};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Mutex, watch},
    time::sleep,
};

use super::service_manager;
use super::sockets::Sockets;
use super::upgrade::{self, Control, NAME, Outcome, Predecessor, Start, Successor};
use super::warm::Warm;
use crate::config::{Gateway, Process};
use crate::door::{Drain, Workers};
use crate::monitor::Monitor;
use crate::telemetry::Pipeline;

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
    /// What is told of requests.
    pub(super) pipeline: Arc<Pipeline>,
}

/// By whom the gateway can be replaced, and whom it replaces.
pub(super) struct Succession {
    pub(super) control: Control,
    /// The process before this one, and the names of the listeners that were its own.
    pub(super) predecessor: Option<(Predecessor, Vec<String>)>,
}

/// Runs a gateway that accepts connections until its end. Pingora waits for it, and then ends the rest.
pub(super) struct Lifecycle {
    process: Process,
    stop: Stop,
    serving: Mutex<Option<(Serving, Option<Succession>)>>,
    monitor: Arc<Monitor>,
    welcome: String,
    start: Start,
    warm: Option<Arc<Warm>>,
}

/// Why serving ends.
enum End {
    /// For good.
    Stop(Order),
    /// Another process serves.
    Succeeded(Box<Successor>),
}

impl Lifecycle {
    /// `welcome` is printed once signals are heard.
    pub(super) fn new(
        gateway: &Gateway,
        stop: Stop,
        serving: Serving,
        succession: Option<Succession>,
        monitor: Arc<Monitor>,
        welcome: String,
        warm: Option<Warm>,
    ) -> Self {
        let (process, start) = (gateway.process.clone(), Start::of_this_process());
        let (serving, warm) = (Mutex::new(Some((serving, succession))), warm.map(Arc::new));
        Lifecycle { process, stop, serving, monitor, welcome, start, warm }
    }

    async fn run(&self, mut serving: Serving, succession: Option<Succession>) {
        let mut orders = Orders::new(self.stop.clone());
        let mut control = succession.map(|succession| self.enter(&mut serving, succession));
        match self.serve(&mut serving, &mut control, &mut orders).await {
            End::Stop(order) => {
                drop(control);
                self.leave(&mut serving, order, &mut orders).await;
                serving.close().await;
                self.drain(&serving, &mut orders).await;
                self.save_cache().await;
            }
            End::Succeeded(successor) => {
                serving.leave_to(&successor);
                control.into_iter().for_each(|control| successor.leave_control(control));
                // Probes and scrapes go to the new one at once.
                serving.close_admin().await;
                serving.close().await;
                self.drain(&serving, &mut orders).await;
            }
        }
        serving.end().await;
    }

    async fn save_cache(&self) {
        if let Some(warm) = self.warm.clone() {
            // It reports by itself.
            let _ = tokio::task::spawn_blocking(move || warm.save()).await;
        }
    }

    /// From here on the gateway is there for everybody, and the process before this one may go.
    fn enter(&self, serving: &mut Serving, succession: Succession) -> Control {
        let Succession { mut control, predecessor } = succession;
        if let Err(error) = control.listen() {
            log::error!("upgrades can't be asked for: {error}");
        }
        // Nobody may be reading: that is no reason not to serve.
        let _ = std::io::stdout().lock().write_all(self.welcome.as_bytes());
        if let Some((predecessor, mut kept)) = predecessor {
            if control.is_inherited {
                kept.push(NAME.to_owned());
            }
            predecessor.relieve(kept);
            serving.sockets.all_mut().flat_map(|listener| &mut listener.sockets).for_each(|socket| socket.own_file());
            control.socket.own_file();
        }
        service_manager::ready("serving");
        tokio::spawn(service_manager::watchdog());
        control
    }

    /// Serves until it ends; upgrades that fail are reported and forgotten.
    async fn serve(&self, serving: &mut Serving, control: &mut Option<Control>, orders: &mut Orders) -> End {
        loop {
            let asked: Option<UnixStream> = tokio::select! {
                order = orders.next() => match order {
                    Order::Upgrade => None,
                    order => return End::Stop(order),
                },
                asked = Control::asked_for_upgrade(control) => Some(asked),
            };
            let Some(control) = control else { continue };
            log::info!("upgrade: starting a new process");
            service_manager::status("upgrading");
            // The new one reads it when it starts.
            self.save_cache().await;
            let result = tokio::select! {
                order = orders.next_end() => Err((Some(order), "the gateway is stopping".to_owned())),
                result = Successor::start(&self.start, control, &serving.sockets) => result.map_err(|error| (None, error)),
            };
            let (outcome, end) = match result {
                Ok(successor) => {
                    log::info!("upgrade: process {} serves now", successor.pid);
                    service_manager::succeeded_by(successor.pid);
                    (successor.outcome(), Some(End::Succeeded(Box::new(successor))))
                }
                Err((order, error)) => {
                    log::error!("upgrade: failed, so this process goes on: {error}");
                    self.warm.iter().for_each(|warm| warm.discard());
                    service_manager::status("serving; the last upgrade failed");
                    (Outcome::failed(error), order.map(End::Stop))
                }
            };
            asked.into_iter().for_each(|mut asked| upgrade::answer(&mut asked, &outcome));
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Says goodbye, and gives load balancers the time to hear it.
    async fn leave(&self, serving: &mut Serving, order: Order, orders: &mut Orders) {
        self.monitor.stop();
        service_manager::stopping();
        let lame_duck = self.process.lame_duck;
        if order == Order::Terminate && !lame_duck.is_zero() {
            log::info!("stopping: connections are accepted for another {lame_duck:?}");
            tokio::select! {
                () = sleep(lame_duck) => {}
                _ = orders.next_end() => {}
            }
        }
        log::info!("stopping: {} connections are open", serving.drain.open());
    }

    /// Waits for the connections that are open.
    async fn drain(&self, serving: &Serving, orders: &mut Orders) {
        let drain = &serving.drain;
        tokio::select! {
            idle = drain.wait_idle(self.process.drain) => {
                if !idle {
                    let open = drain.open();
                    log::warn!("stopping: {open} connections did not finish in {:?}", self.process.drain);
                }
            }
            _ = orders.next_end() => log::warn!("stopping: {} connections are cut off", drain.open()),
        }
    }
}

#[async_trait]
impl ShutdownSignalWatch for Lifecycle {
    async fn recv(&self) -> ShutdownSignal {
        if let Some((serving, succession)) = self.serving.lock().await.take() {
            self.run(serving, succession).await;
        }
        ShutdownSignal::GracefulTerminate
    }
}

impl Serving {
    /// Leaves the files of Unix sockets to the process that listens there now.
    fn leave_to(&mut self, successor: &Successor) {
        let kept = self.sockets.all_mut().filter(|listener| successor.kept(&listener.name));
        kept.flat_map(|listener| &mut listener.sockets).for_each(|socket| socket.leave_file());
    }

    /// Stops listening on the admin address.
    async fn close_admin(&mut self) {
        self.admin_drain.close();
        self.sockets.admin.sockets.clear();
        self.admin_workers.closed().await;
    }

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
        let joined = tokio::task::spawn_blocking(move || {
            self.workers.join();
            self.admin_workers.join();
            self.pipeline.end();
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
    /// SIGQUIT: let a new process take over.
    Upgrade,
}

/// Hears orders, from its creation on.
struct Orders {
    stop: Stop,
    terminate: Option<Signal>,
    interrupt: Option<Signal>,
    quit: Option<Signal>,
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
            quit: hear(SignalKind::quit()),
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
            () = received(&mut self.quit) => Order::Upgrade,
            () = asked => Order::Interrupt,
        }
    }

    /// As [`Orders::next`], where an upgrade is out of the question.
    async fn next_end(&mut self) -> Order {
        loop {
            match self.next().await {
                Order::Upgrade => log::info!("SIGQUIT is of no use now"),
                order => return order,
            }
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
