//! How requests are shown.

use std::{
    fmt::Write as _,
    io::{BufWriter, Write},
};

use clap::Args;
use jiff::{Timestamp, tz::TimeZone};

use crate::telemetry::access_log::{CombinedLines, Record};

/// Columns for people, unless it is one of these.
#[derive(Clone, Debug, Default, Args)]
#[group(multiple = false)]
pub(super) struct Shape {
    /// Print the lines of the log as they are: JSON.
    #[arg(long)]
    json: bool,
    /// Print the combined format of nginx and Apache.
    #[arg(long)]
    combined: bool,
    /// Print the combined format after HOST:PORT.
    #[arg(long)]
    vhost_combined: bool,
}

/// Shows requests in one way.
pub(super) struct Show<W: Write> {
    out: BufWriter<W>,
    way: Way,
    line: Vec<u8>,
    strange: usize,
}

enum Way {
    Columns(TimeZone),
    Json,
    Combined(CombinedLines),
}

impl<W: Write> Show<W> {
    pub(super) fn new(shape: &Shape, out: W) -> Self {
        let way = match shape {
            Shape { json: true, .. } => Way::Json,
            Shape { combined: true, .. } => Way::Combined(CombinedLines::new(false)),
            Shape { vhost_combined: true, .. } => Way::Combined(CombinedLines::new(true)),
            _ => Way::Columns(TimeZone::system()),
        };
        Show { out: BufWriter::with_capacity(BUFFER, out), way, line: Vec::new(), strange: 0 }
    }

    /// Shows a line of the log, which is that of `record`.
    pub(super) fn show(&mut self, line: &[u8], record: &Record<'_>) -> std::io::Result<()> {
        self.line.clear();
        match &mut self.way {
            Way::Json => {
                self.line.extend_from_slice(line);
                self.line.push(b'\n');
            }
            Way::Combined(lines) => lines.write(record, &mut self.line),
            Way::Columns(zone) => self.line.extend_from_slice(columns(record, zone).as_bytes()),
        }
        self.out.write_all(&self.line)
    }

    /// Counts a line that is no line of the JSON log.
    pub(super) fn pass_over(&mut self) {
        self.strange += 1;
    }

    /// How many there were.
    pub(super) fn strange(&self) -> usize {
        self.strange
    }

    /// Has everything seen that was shown.
    pub(super) fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Time, status, kind of answer, how long it took, client, method and URL stand in columns; then what there is.
fn columns(record: &Record<'_>, zone: &TimeZone) -> String {
    let time = match record.time.parse::<Timestamp>() {
        Ok(time) => time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        Err(_) => record.time.to_string(),
    };
    let mut line = format!(
        "{time}  {:03}  {:<14}  {:>11}  {:<15}  {:<4}  {}://{}{}",
        record.status,
        record.outcome,
        took(record.took),
        or_dash(&record.client),
        or_dash(&record.method),
        record.scheme,
        record.host,
        record.target
    );
    let mut more = |before: &str, text: &str| {
        if !text.is_empty() {
            // Writing to memory does not fail.
            let _ = write!(line, "  {before}{text}");
        }
    };
    more("→ ", &record.location);
    more("", if record.unmapped { "unmapped" } else { "" });
    more("", &record.reason);
    more("", &record.rule);
    more("platform ", &record.platform);
    more("cache ", &record.cache);
    more("tags ", &record.tags.join(" "));
    safe(&line) + "\n"
}

fn took(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.3} ms", seconds * 1e3) } else { format!("{seconds:.3} s") }
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

/// Without anything that a terminal obeys, or by which text runs in another direction than it is read.
fn safe(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                safe.extend(c.escape_unicode());
            }
            c if c.is_control() => safe.extend(c.escape_unicode()),
            c => safe.push(c),
        }
    }
    safe
}

const BUFFER: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use jiff::tz;

    use super::*;

    #[test]
    fn columns_for_people() {
        let line = br#"{"time":"2026-11-22T04:00:00.007Z","client":"192.0.2.7","method":"GET","scheme":"http","host":"old.example",
            "target":"/a\u001b[2J\u202e","status":404,"outcome":"not_found","unmapped":true,"took":0.000042,"tags":["a","b"]}"#;
        let record = Record::of_line(line).unwrap();
        let zone = TimeZone::fixed(tz::offset(8));
        assert_eq!(
            columns(&record, &zone),
            "2026-11-22 12:00:00.007  404  not_found          0.042 ms  192.0.2.7        GET   http://old.example/a\\u{1b}[2J\\u{202e}  unmapped  tags a b\n"
        );
        // A line of nothing is shown, too.
        assert!(columns(&Record::default(), &zone).contains("000"));
        assert_eq!(took(12.5), "12.500 s");
    }
}
