//! `waypost report`: a week, month or year, as a page and as tables.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow, bail};
use clap::{Args, ValueEnum};

use super::output::print;
use super::{NodeArgs, load};
use crate::config::Site;
use crate::hits::Calendar;
use crate::report::{Lang, Length, Sources, Span, gather, page, tables};

/// What is asked.
#[derive(Clone, Debug, Args)]
pub(super) struct Asked {
    #[command(flatten)]
    length: LengthArgs,
    /// Which one: 2026-W47, 2026-11, 2026, or a day in it (2026-11-23). The last that is over where absent.
    #[arg(long, value_name = "NAME")]
    of: Option<String>,
    /// Only this owner's sites.
    #[arg(long)]
    owner: Option<String>,
    /// Language of the page.
    #[arg(long, value_enum, default_value = "zh")]
    lang: Language,
    /// Write the page to this file, `-` for standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the tables to this folder, one CSV file each.
    #[arg(long, value_name = "DIR")]
    csv: Option<PathBuf>,
    /// Print all of it as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, Args)]
#[group(required = true, multiple = false)]
struct LengthArgs {
    /// A week, from Monday to Sunday.
    #[arg(long)]
    week: bool,
    /// A month.
    #[arg(long)]
    month: bool,
    /// A year.
    #[arg(long)]
    year: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Language {
    /// Chinese.
    Zh,
    /// English.
    En,
}

/// Makes the report.
pub(super) fn run(node: &NodeArgs, asked: &Asked) -> anyhow::Result<ExitCode> {
    if asked.output.is_none() && asked.csv.is_none() && !asked.json {
        bail!("say where it goes: `-o report.html`, `--csv DIR`, or `--json`");
    }
    let (gateway, _) = load::gateway(node)?;
    let length = match asked.length {
        LengthArgs { month: true, .. } => Length::Month,
        LengthArgs { year: true, .. } => Length::Year,
        LengthArgs { .. } => Length::Week,
    };
    let today = Calendar::new(&gateway.hits).today();
    let span = match &asked.of {
        Some(name) => Span::parse(length, name).map_err(|why| anyhow!("--of: {why}"))?,
        None => Span::last(length, today),
    };
    if span.since > today {
        bail!("--of: {} has not begun yet", span.name);
    }
    let now = load::now();
    let routes = load::routes(&gateway, now)?;
    let sites: Vec<&Site> = routes.loader.checked_sites().collect();
    if let Some(owner) = &asked.owner
        && !sites.iter().any(|site| site.owner.as_ref() == Some(owner))
    {
        bail!("no site has the owner `{owner}`");
    }
    let sources = Sources { gateway: &gateway, sites: &sites, findings: &routes.report.diagnostics, now };
    let report = gather(&sources, &span, asked.owner.as_deref())?;
    if let Some(folder) = &asked.csv {
        fs::create_dir_all(folder).with_context(|| format!("can't make the folder {}", folder.display()))?;
        for table in tables(&report) {
            write(&folder.join(table.name), &table.text)?;
        }
    }
    let lang = match asked.lang {
        Language::Zh => Lang::Zh,
        Language::En => Lang::En,
    };
    match &asked.output {
        Some(path) if path == Path::new("-") => return print(&page(&report, lang)),
        Some(path) => write(path, &page(&report, lang))?,
        None => {}
    }
    if asked.json {
        return print(&format!("{}\n", serde_json::to_string_pretty(&report)?));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a file whole or not at all: a report that is there is not lost for want of space.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    let part = path.with_file_name(name);
    let written: io::Result<()> = fs::write(&part, text).and_then(|()| fs::rename(&part, path));
    written.with_context(|| format!("can't write {}", path.display()))
}
