//! Changes of route files: shown, asked about, checked, written, taken back.

use std::{
    io::{self, BufRead, IsTerminal, Write},
    process::ExitCode,
};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::output::{count, print, print_and};
use crate::config::{Diagnostic, Gateway};
use crate::edits::{Changes, Journal, Record};

/// Whether what is shown is done.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct Consent {
    /// Show what would change, and change nothing.
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Change it without asking; needed where nobody sits at a terminal.
    #[arg(long)]
    yes: bool,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

impl Consent {
    /// Whether a program reads the output.
    pub fn json(self) -> bool {
        self.json
    }
}

/// What somebody wants changed.
pub(super) struct Wish<'a> {
    /// What it belongs to: a scope is taken back on its own.
    pub scope: &'a str,
    /// What it does, for the journal.
    pub what: &'a str,
    pub changes: &'a Changes,
    /// Errors that may come of it.
    pub tolerates: fn(&Diagnostic) -> bool,
    /// As of when the result is checked, Unix seconds.
    pub now: i64,
    /// What else programs want to know.
    pub more: Value,
    /// How to take it back.
    pub rollback: &'a str,
    /// Whether something was found that makes the exit code 1 even if all is written.
    pub found: bool,
}

/// Shows the difference, checks what would come of it, asks, and writes all or nothing.
pub(super) fn apply(gateway: &Gateway, wish: Wish<'_>, consent: Consent) -> anyhow::Result<ExitCode> {
    let done = if wish.found { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    let mut report = wish.more;
    if wish.changes.is_empty() {
        report["written"] = json!(false);
        report["files"] = json!([]);
        let text = "nothing to change: the files say so already\n".to_owned();
        return say(consent, report, &text, done);
    }
    let diff = wish.changes.diff();
    report["files"] = wish.changes.names().map(|(name, is_new)| json!({ "file": name, "new": is_new })).collect();
    report["diff"] = json!(diff);
    if !consent.json {
        print(&diff)?;
    }
    let mut faults = wish.changes.new_errors(gateway, wish.now).context("can't read the routes")?;
    faults.retain(|fault| !(wish.tolerates)(fault));
    report["errors"] = json!(faults);
    if !faults.is_empty() {
        report["written"] = json!(false);
        let faults: String = faults.iter().map(|fault| format!("{fault}\n")).collect();
        let text = format!("\n{faults}nothing was written: these faults would come of it\n");
        return say(consent, report, &text, ExitCode::FAILURE);
    }
    let files = count(wish.changes.names().count(), "file");
    if consent.dry_run {
        report["written"] = json!(false);
        return say(consent, report, &format!("\n{files} would change; nothing was written\n"), done);
    }
    if !consent.yes && !agrees(&format!("change {files}?"))? {
        report["written"] = json!(false);
        return say(consent, report, NOT_WRITTEN, ExitCode::FAILURE);
    }
    let journal = open(gateway)?;
    let record = journal.commit(wish.changes, wish.scope, wish.what)?;
    report["written"] = json!(true);
    report["change"] = json!(record.number);
    let text = format!("\n{files} written (change {}); back by `{}`\n", record.number, wish.rollback);
    say(consent, report, &text, done)
}

/// Takes the last change of a scope back.
pub(super) fn roll_back(gateway: &Gateway, scope: &str, force: bool, consent: Consent) -> anyhow::Result<ExitCode> {
    let journal = open(gateway)?;
    let Some(undo) = journal.last(scope)? else {
        let text = format!("there is nothing to take back of {scope}\n");
        return say(consent, json!({ "written": false }), &text, ExitCode::FAILURE);
    };
    let Record { number, what, at, .. } = undo.record().clone();
    let mut report = json!({ "change": number, "what": what, "at": at, "edited": undo.edited(), "diff": undo.diff() });
    if !consent.json {
        print(&undo.diff())?;
    }
    report["written"] = json!(false);
    if !undo.edited().is_empty() && !force {
        let names: String = undo.edited().iter().map(|name| format!("  {name}\n")).collect();
        let text =
            format!("\nedited since {at} ({what}):\n{names}nothing was written: --force takes these edits back, too\n");
        return say(consent, report, &text, ExitCode::FAILURE);
    }
    let files = count(undo.record().files(), "file");
    if consent.dry_run {
        return say(
            consent,
            report,
            &format!("\n{files} would be as before: {what}; nothing was written\n"),
            ExitCode::SUCCESS,
        );
    }
    if !consent.yes && !agrees(&format!("take back: {what} ({at})?"))? {
        return say(consent, report, NOT_WRITTEN, ExitCode::FAILURE);
    }
    journal.undo(undo, force)?;
    report["written"] = json!(true);
    say(consent, report, &format!("\n{files} as before change {number}: {what}\n"), ExitCode::SUCCESS)
}

/// Opens the journal, and tells what it has mended.
pub(super) fn open(gateway: &Gateway) -> anyhow::Result<Journal> {
    let (journal, mended) = Journal::open(&gateway.routes)?;
    for record in mended {
        eprintln!("change {} ({}) had been left half done: it was taken back", record.number, record.what);
    }
    Ok(journal)
}

const NOT_WRITTEN: &str = "nothing was written (--yes writes without asking)\n";

fn say(consent: Consent, report: Value, text: &str, code: ExitCode) -> anyhow::Result<ExitCode> {
    if consent.json {
        return print_and(&format!("{}\n", serde_json::to_string_pretty(&report)?), code);
    }
    print_and(text, code)
}

/// Asks whoever sits at the terminal; nobody there is no.
fn agrees(question: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
