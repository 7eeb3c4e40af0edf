//! `waypost census`: the survey of sites into site files, and back.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use jiff::{Timestamp, tz::TimeZone};
use serde_json::json;

use super::apply::{Consent, Wish, apply, roll_back};
use super::output::{count, print, print_and};
use super::{NodeArgs, load};
use crate::census::{self, Columns, Encoding, Exported, Survey, Target};
use crate::config::{Site, parse_date};
use crate::edits::Changes;

#[derive(Debug, Subcommand)]
pub(super) enum Census {
    /// Turn a survey of sites (XLSX, or CSV in UTF-8 or GB18030) into site files, or bring those to what it says now.
    ///
    /// Says, row by row, what is wrong: a domain in two rows, kept and closed, duplicates, bad domains. If there is an error,
    /// nothing is written and the exit code is 1; --partial imports the other rows. Shows the difference and asks before it
    /// writes. What somebody has changed in a site's file by hand stays as it is.
    #[command(after_long_help = MORE)]
    Import(Import),
    /// Give the survey back: the same columns, rows and words, with what has changed in the site files since.
    Export(Export),
    /// Write an empty survey, with headings that are known.
    Template {
        /// The file, .xlsx or .csv; CSV on standard output where absent.
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

const MORE: &str = "\
COLUMNS:
  Usual headings are known: 网站名称, 主办单位, 域名, 网址, 网站标识码, 处理意见, 是否保留, 批次, 迁移去向, 关停时间 … Others are named
  by a small file (--columns):

    name   = \"单位网站\"          # a heading, or several
    hosts  = [\"主站\", \"镜像\"]
    header = 3                    # the row with the headings, if they are not found
    sheets = [\"关停名单\"]         # only these; all that have domains where absent

    [words]                       # what cells of `disposition` say, beside what is known
    close = [\"撤\"]
    keep  = [\"留\"]

  Keys: name, owner, hosts, code, disposition, is-closed, is-kept, is-exempt (yes or no), wave, home, origin, and dates:
  notice, redirect, archive, retired. Where no column says what becomes of a site, the sheet's name does (保留名单), else
  it is closed. Columns with other headings are kept for the way back.";

/// What is imported, and how.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The survey.
    #[arg(required_unless_present = "rollback")]
    file: Option<PathBuf>,
    #[command(flatten)]
    node: NodeArgs,
    /// A small file that says which column is which.
    #[arg(long, value_name = "FILE")]
    columns: Option<PathBuf>,
    /// Only this sheet; may be given several times.
    #[arg(long, value_name = "NAME")]
    sheet: Vec<String>,
    /// Folder of new site files, below the routes.
    #[arg(long, value_name = "FOLDER", default_value = "")]
    into: String,
    /// What the survey is called in the site files; the file's name where absent.
    #[arg(long, value_name = "NAME")]
    survey: Option<String>,
    /// Import the rows without errors even if others have some.
    #[arg(long)]
    partial: bool,
    /// Day of the survey: since then new sites are in phase `proxy`, until their wave comes; today where absent.
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    date: Option<i64>,
    /// Take the last import back: files that it has made go, others are as they were.
    #[arg(long, conflicts_with_all = ["file", "columns", "sheet", "partial"])]
    rollback: bool,
    /// With --rollback: also where somebody has edited since; that is lost then.
    #[arg(long, requires = "rollback")]
    force: bool,
    #[command(flatten)]
    consent: Consent,
}

/// What is given back, and how.
#[derive(Debug, Args)]
pub(super) struct Export {
    #[command(flatten)]
    node: NodeArgs,
    /// Which survey, if the site files come from several.
    #[arg(long, value_name = "NAME")]
    survey: Option<String>,
    /// The file, .xlsx or .csv; CSV on standard output where absent.
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Which sheet, for CSV of a survey with several.
    #[arg(long, value_name = "NAME")]
    sheet: Option<String>,
    /// Charset of CSV.
    #[arg(long, value_enum, default_value = "utf-8")]
    encoding: Charset,
    /// With sites that no survey knows, last.
    #[arg(long)]
    all: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Charset {
    /// With byte order mark.
    #[value(name = "utf-8")]
    Utf8,
    /// As spreadsheet programs save CSV in China.
    Gb18030,
}

pub(super) fn run(census: &Census) -> anyhow::Result<ExitCode> {
    match census {
        Census::Import(import) => import.run(),
        Census::Export(export) => export.run(),
        Census::Template { out } => write(&census::template(), out.as_deref(), None, Encoding::Utf8),
    }
}

/// What imports belong to in the journal.
const SCOPE: &str = "census";

impl Import {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let (gateway, _) = load::gateway(&self.node)?;
        if self.rollback {
            return roll_back(&gateway, SCOPE, self.force, self.consent);
        }
        let file = self.file.as_deref().ok_or_else(|| anyhow!("which file?"))?;
        let columns = match &self.columns {
            Some(path) => Columns::read(path).map_err(|why| anyhow!("{why}"))?,
            None => Columns::default(),
        };
        let stem = || file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let name = self.survey.clone().unwrap_or_else(stem);
        let mut survey = Survey::read(file, &name, columns.of_sheets(&self.sheet))
            .with_context(|| format!("can't read {}", file.display()))?;
        let now = self.date.unwrap_or_else(load::now);
        let day = Timestamp::from_second(now).unwrap_or_default().to_zoned(TimeZone::system()).date();
        let routes = load::routes(&gateway, now)?;
        let sites: Vec<&Site> = routes.loader.checked_sites().collect();
        let folder = self.into.trim_matches('/');
        if folder.split('/').any(|part| part.starts_with('.') || part.is_empty() && !folder.is_empty()) {
            bail!("`{}` is no folder below the routes", self.into);
        }
        let target = Target { folder, day, sites: &sites };
        let planned = survey.plan(&target, Changes::new(&gateway.routes))?;
        let told: String = survey.findings.iter().map(|finding| format!("{finding}\n")).collect();
        let skipped: String =
            survey.skipped.iter().map(|sheet| format!("sheet {sheet} has no column of domains: left out\n")).collect();
        let summary = format!(
            "{} with a site: {} good ({} to close, {} kept, {} exempt; {} new), {} with errors\n",
            count(survey.rows(), "row"),
            planned.sites,
            planned.to_close,
            planned.kept,
            planned.exempt,
            planned.new,
            planned.left_out
        );
        let more = json!({
            "rows": survey.rows(),
            "sites": planned.sites,
            "new": planned.new,
            "to_close": planned.to_close,
            "kept": planned.kept,
            "exempt": planned.exempt,
            "left_out": planned.left_out,
            "skipped_sheets": survey.skipped,
            "findings": survey.findings,
        });
        if !self.consent.json() {
            print(&format!("{told}{skipped}"))?;
        }
        let errors = survey.errors();
        if errors > 0 && !self.partial {
            let text = format!(
                "{summary}{}: nothing was written. Correct the sheet, or import the other rows with --partial\n",
                count(errors, "error")
            );
            let mut report = more;
            report["written"] = json!(false);
            let json = format!("{}\n", serde_json::to_string_pretty(&report)?);
            return print_and(if self.consent.json() { &json } else { &text }, ExitCode::FAILURE);
        }
        let what = format!("census import {}: {}", file.display(), count(planned.sites, "site"));
        let wish = Wish {
            scope: SCOPE,
            what: &what,
            changes: &planned.changes,
            // Where a site's content goes need not be known yet: `waypost status` says that it is blocked.
            tolerates: |fault| fault.code == "missing-key" && fault.message.contains("`home`"),
            now,
            more,
            rollback: "waypost census import --rollback",
            found: errors > 0,
        };
        let code = apply(&gateway, wish, self.consent)?;
        if !self.consent.json() {
            print(&summary)?;
        }
        Ok(code)
    }
}

impl Export {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let (gateway, _) = load::gateway(&self.node)?;
        let routes = load::routes(&gateway, load::now())?;
        let sites: Vec<&Site> = routes.loader.checked_sites().collect();
        let surveys = census::surveys(&sites);
        let names = || surveys.keys().cloned().collect::<Vec<_>>().join(", ");
        let survey = match &self.survey {
            Some(name) if surveys.contains_key(name) => name.clone(),
            Some(name) => bail!("no site comes from the survey `{name}`: there is {}", names()),
            None => match surveys.len() {
                0 if self.all => String::new(),
                0 => bail!("no site comes from a survey (--all writes all sites)"),
                1 => names(),
                _ => bail!("the sites come from several surveys: say which with --survey ({})", names()),
            },
        };
        let exported = census::export(&gateway.routes, &sites, &survey, self.all)?;
        let encoding = match self.encoding {
            Charset::Utf8 => Encoding::Utf8,
            Charset::Gb18030 => Encoding::Gb18030,
        };
        write(&exported, self.out.as_deref(), self.sheet.as_deref(), encoding)
    }
}

fn write(exported: &Exported, out: Option<&Path>, sheet: Option<&str>, encoding: Encoding) -> anyhow::Result<ExitCode> {
    let is_book = out.and_then(Path::extension).is_some_and(|ending| ending.eq_ignore_ascii_case("xlsx"));
    let bytes = if is_book { exported.xlsx() } else { exported.csv(sheet, encoding) };
    let bytes = bytes.map_err(|why| anyhow!("{why}"))?;
    match out {
        Some(path) => {
            fs::write(path, bytes).with_context(|| format!("can't write {}", path.display()))?;
            let rows: usize = exported.sheets.iter().map(|sheet| sheet.rows.len()).sum();
            print(&format!("{} written to {}\n", count(rows, "row"), path.display()))
        }
        None => match io::stdout().write_all(&bytes).and_then(|()| io::stdout().flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(ExitCode::SUCCESS),
        },
    }
}
