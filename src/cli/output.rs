//! Output for people and for programs.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

/// Prints to standard output. A reader that went away (`waypost schema | head`) is no failure.
pub(super) fn print(text: &str) -> anyhow::Result<ExitCode> {
    print_and(text, ExitCode::SUCCESS)
}

/// As [`print()`], with an exit code.
pub(super) fn print_and(text: &str, code: ExitCode) -> anyhow::Result<ExitCode> {
    match io::stdout().write_all(text.as_bytes()).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(code),
    }
}

/// Shows progress on a terminal when work takes longer than a second.
pub(super) fn progress() -> impl FnMut(usize, usize) {
    let start = Instant::now();
    let mut shown = start;
    move |done, all| {
        if io::stderr().is_terminal() && shown.elapsed() > Duration::from_secs(1) {
            shown = Instant::now();
            eprint!("\rloading: {done} of {all} sites\x1b[K\r");
        }
    }
}

/// `1 site`, `2 sites`.
pub(super) fn count(number: usize, one: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {one}{ending}")
}
