//! What systemd is told (sd_notify(3)), where it wants to know: nothing otherwise.

use sd_notify::NotifyState;
use tokio::time::interval;

/// The gateway serves.
pub(super) fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// What the gateway does just now.
pub(super) fn status(status: &str) {
    notify(&[NotifyState::Status(status)]);
}

/// The gateway is ending.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Another process is the service now.
pub(super) fn succeeded_by(pid: u32) {
    notify(&[NotifyState::MainPid(pid), NotifyState::Status("serving, after an upgrade")]);
}

/// Shows the watchdog (WatchdogSec=) that the process is alive, for ever.
pub(super) async fn watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return };
    // Twice as often as needed, as sd_watchdog_enabled(3) recommends.
    let mut ticks = interval((limit / 2).max(std::time::Duration::from_millis(1)));
    loop {
        ticks.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        log::warn!("the service manager can't be told: {error}");
    }
}
