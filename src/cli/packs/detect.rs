//! `waypost packs detect`: which systems sites ran, told by URLs that were asked for.

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use anyhow::Error;
use clap::ValueEnum;

use super::snippet;
use crate::cli::output::print_and;
use crate::model::Host;
use crate::packs::{self, Kind};
use crate::replay::families::{FamiliesJob, FamiliesReport, Family, SiteFamilies, families};
use crate::replay::format::{Format, Json, Pattern};
use crate::replay::{Progress, inputs};

/// What is asked.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Access logs or lists of URLs: files (packed by gzip or zstd, or not), folders of such, or `-` for standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How their lines are written; found from the first lines of each file where absent.
    #[arg(long, value_enum, default_value = "auto")]
    format: FormatArg,
    /// How their lines are written, as the text of nginx's `log_format`.
    #[arg(long, value_name = "TEXT", conflicts_with = "format", value_parser = nginx)]
    nginx_format: Option<Pattern>,
    /// The host of lines that name none. Where absent, the host in the file's name, or the name.
    #[arg(long, value_parser = host)]
    host: Option<String>,
    /// Print everything as JSON.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print a line for each host as CSV: host, family, confidence, pages, hits, other families, reason.
    #[arg(long)]
    csv: bool,
}

/// Known formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FormatArg {
    /// Found from the first lines of each file.
    Auto,
    /// Apache's `combined`, which is nginx's own format too.
    #[value(alias = "nginx")]
    Combined,
    /// Apache's `common`.
    Common,
    /// `combined` with the host before it.
    Vhost,
    /// The gateway's own JSON lines.
    Json,
    /// A URL a line.
    Urls,
}

impl FormatArg {
    fn format(self) -> Option<Format> {
        match self {
            FormatArg::Auto => None,
            FormatArg::Combined => Some(Format::Text(Pattern::combined())),
            FormatArg::Common => Some(Format::Text(Pattern::common())),
            FormatArg::Vhost => Some(Format::Text(Pattern::vhost())),
            FormatArg::Json => Some(Format::Json(Json)),
            FormatArg::Urls => Some(Format::Urls(Default::default())),
        }
    }
}

fn nginx(text: &str) -> Result<Pattern, String> {
    Pattern::parse(text).map_err(|error| error.to_string())
}

fn host(text: &str) -> Result<String, String> {
    Host::parse(text.as_bytes()).map(|host| host.as_str().to_owned()).map_err(|error| error.to_string())
}

/// Runs the command.
pub(in crate::cli) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let inputs = inputs(&args.files)
        .map_err(|(path, error)| Error::new(error).context(format!("can't read {}", path.display())))?;
    let job = FamiliesJob {
        inputs,
        format: args.nginx_format.clone().map(Format::Text).or(args.format.format()),
        host: args.host.clone(),
    };
    let is_shown = std::io::stderr().is_terminal();
    let report = families(&job, |progress: &Progress| {
        if is_shown {
            eprint!("\r{} lines\x1b[K\r", progress.lines());
        }
    });
    for file in &report.files {
        if let Some(fault) = &file.fault {
            eprintln!("waypost: {}: {fault}", file.path);
        }
    }
    let failed = report.files.iter().any(|file| file.fault.is_some());
    let text = if args.json {
        format!("{}\n", serde_json::to_string_pretty(&as_json(&report)?)?)
    } else if args.csv {
        as_csv(&report)
    } else {
        as_text(&report)
    };
    print_and(&text, if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn as_json(report: &FamiliesReport) -> serde_json::Result<serde_json::Value> {
    let mut value = serde_json::to_value(report)?;
    for (told, site) in value["sites"].as_array_mut().into_iter().flatten().zip(&report.sites) {
        told["snippet"] = paste(site).into();
    }
    Ok(value)
}

fn as_csv(report: &FamiliesReport) -> String {
    let quoted = |text: &str| match text.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    };
    let mut text = String::from("host,family,confidence,pages,hits,others,reason\n");
    for site in &report.sites {
        let others: Vec<&str> =
            site.families.iter().map(|family| family.pack.as_str()).filter(|pack| *pack != site.family).collect();
        text.push_str(&format!(
            "{},{},{:.2},{},{},{},{}\n",
            quoted(&site.host),
            site.family,
            site.confidence,
            site.pages,
            site.hits,
            others.join(" "),
            quoted(site.reason.as_deref().unwrap_or_default())
        ));
    }
    text
}

fn as_text(report: &FamiliesReport) -> String {
    let mut text = String::new();
    for site in &report.sites {
        site_text(site, &mut text);
    }
    let mut sums: Vec<(&str, usize)> = Vec::new();
    for site in &report.sites {
        match sums.iter_mut().find(|(family, _)| *family == site.family) {
            Some((_, count)) => *count += 1,
            None => sums.push((&site.family, 1)),
        }
    }
    sums.sort_by_key(|&(family, count)| (std::cmp::Reverse(count), family));
    let sums: Vec<String> = sums.iter().map(|(family, count)| format!("{count} {family}")).collect();
    let hosts = crate::cli::output::count(report.sites.len(), "host");
    text.push_str(&format!(
        "{hosts}: {}\n",
        if sums.is_empty() { "nothing to look at".to_owned() } else { sums.join(", ") }
    ));
    if report.unreadable > 0 {
        text.push_str(&format!("{} lines can't be read\n", report.unreadable));
    }
    if report.left_out > 0 {
        text.push_str(&format!("{} requests for further hosts were left out\n", report.left_out));
    }
    if !report.urls_exact {
        text.push_str("there were too many different URLs to tell all apart: numbers of URLs are too low\n");
    }
    text
}

fn site_text(site: &SiteFamilies, text: &mut String) {
    let title = site.families.iter().find(|family| family.pack == site.family);
    let title = title.map(|family| format!(", {}, {:.0} % sure", family.title, family.confidence * 100.0));
    text.push_str(&format!("{}: {}{}\n", site.host, site.family, title.unwrap_or_default()));
    if let Some(reason) = &site.reason {
        text.push_str(&format!("  {reason}\n"));
    }
    for family in &site.families {
        family_text(family, site, text);
    }
    for family in &site.traces {
        if family.kind == Kind::System {
            let urls = crate::cli::output::count(family.urls as usize, "page");
            text.push_str(&format!("  too few to count: {}, {urls}\n", family.pack));
        }
    }
    let paste = paste(site);
    if !paste.is_empty() {
        text.push_str("  to begin with:\n");
        for line in paste.lines() {
            text.push_str(&format!("    {line}\n"));
        }
    }
    text.push('\n');
}

fn family_text(family: &Family, site: &SiteFamilies, text: &mut String) {
    text.push_str(&format!(
        "  {}: {} of {} pages, {} of {} hits\n",
        family.pack, family.urls, site.pages, family.hits, site.hits
    ));
    for sign in &family.signs {
        let sample = sign.samples.first().map(String::as_str).unwrap_or_default();
        text.push_str(&format!("    {:>7}  {}: {sample}\n", sign.urls, sign.sign));
    }
}

/// Rules to begin with: systems first, what is around them last.
fn paste(site: &SiteFamilies) -> String {
    let mut families: Vec<&Family> = site.families.iter().collect();
    families.sort_by_key(|family| (family.kind == Kind::Wrapper, family.kind == Kind::Generic));
    let packs = families.iter().filter_map(|family| packs::find(&family.pack));
    packs.map(|pack| snippet(pack, "https://www.new.example/path")).collect::<Vec<_>>().join("\n")
}
