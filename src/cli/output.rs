//! Output for people and for programs.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use unicode_width::UnicodeWidthStr;

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

/// Lines of cells under each other, those of the columns `right` on the right.
pub(super) fn table(lines: &[Vec<String>], right: &[usize]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| lines.iter().filter_map(|line| Some(line.get(column)?.width())).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let mut out = String::new();
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            let gap = " ".repeat(width.saturating_sub(cell.width()));
            let (before, after) = if right.contains(&column) { (gap, String::new()) } else { (String::new(), gap) };
            out += &format!("{before}{cell}{after}  ");
        }
        text += &format!("{}\n", out.trim_end());
    }
    text
}
