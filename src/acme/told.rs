//! What the log says of orders: each thing once, and never more lines than somebody would read.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use super::Progress;
use super::fault::Fault;
use super::ledger::Failure;

/// The log of an engine.
#[derive(Default)]
pub(super) struct Log {
    /// Names of this round that are not ready.
    not_ready: AtomicUsize,
    /// Why it waits, or what is wrong, as it was told last.
    last: Mutex<String>,
}

impl Log {
    /// Tells what an operator wants to know of.
    pub fn tell(&self, progress: Progress) {
        match progress {
            Progress::Issued { names, file, .. } => {
                log::info!("acme: {file} has a certificate for {}", listed(&names));
            }
            Progress::Failed { failures, .. } => {
                for Failure { name, why } in failures.iter().take(MAX_LISTED) {
                    log::warn!("acme: {name} was not proven: {why}");
                }
                if failures.len() > MAX_LISTED {
                    let rest = failures.len() - MAX_LISTED;
                    log::warn!("acme: nor were {rest} more, which `waypost certs doctor` lists");
                }
            }
            Progress::NotReady(Failure { name, why }) => {
                if self.not_ready.fetch_add(1, Ordering::Relaxed) < MAX_LISTED {
                    log::warn!("acme: {name} is not ordered: {why}");
                }
            }
            Progress::Dropped { order, why } => log::warn!("acme: nothing came of order {order}: {why}"),
            Progress::Waiting { why, .. } => self.once(&why),
            Progress::Trying { .. } | Progress::Ordering { .. } | Progress::Proving { .. } => {}
        }
    }

    /// A round has ended.
    pub fn ended(&self, fault: Option<&Fault>, is_waiting: bool) {
        let not_ready = self.not_ready.swap(0, Ordering::Relaxed);
        if not_ready > MAX_LISTED {
            let rest = not_ready - MAX_LISTED;
            log::warn!("acme: nor are {rest} more, which `waypost certs doctor` lists");
        }
        match fault {
            // That is as it should be.
            Some(Fault::Busy(_)) => {}
            Some(fault) => self.once(&fault.to_string()),
            None if is_waiting => {}
            None => {
                if !std::mem::take(&mut *self.last.lock().unwrap_or_else(PoisonError::into_inner)).is_empty() {
                    log::info!("acme: well again");
                }
            }
        }
    }

    fn once(&self, why: &str) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != why {
            log::warn!("acme: {why}");
            why.clone_into(&mut last);
        }
    }
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "no name".to_owned(),
        [name] => name.clone(),
        [name, rest @ ..] => format!("{name} and {} more", rest.len()),
    }
}

/// Names that one thing is said of.
const MAX_LISTED: usize = 20;
