//! `waypost suggest`: where old URLs that nothing is said of may have gone.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{anyhow, bail};
use jiff::civil::Date;

use super::output::{count, print};
use super::{NodeArgs, load};
use crate::config::Gateway;
use crate::routing::{Scratch, Snapshot};
use crate::suggest::{Suggestion, suggest};

mod fetch;
mod gather;
mod review;
mod titles;
mod write;

use self::gather::Gathered;
use self::write::Added;

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The site: its id (the site file without `.toml`, as `county/jyj`) or one of its hosts.
    site: String,
    /// Pages of the new platform: a sitemap, or an index of such, as a file or a URL; packed by gzip or not. May be given several times.
    #[arg(long, value_name = "FILE|URL")]
    sitemap: Vec<String>,
    /// An export of the platform, as CSV: old id or old URL → new URL, with titles and dates if there are any; or a list of new
    /// URLs with titles. Columns are known by their headings, Chinese ones too. May be given several times.
    #[arg(long, value_name = "FILE")]
    table: Vec<PathBuf>,
    /// Titles of old pages: CSV with the columns `old,title`. May be given several times.
    #[arg(long, value_name = "FILE")]
    titles: Vec<PathBuf>,
    #[command(flatten)]
    fetching: titles::TitleArgs,
    /// Take the unmapped URLs from these access logs (files, folders, `-`) instead of the database of hits.
    #[arg(long, value_name = "LOG", num_args = 1.., conflicts_with = "urls")]
    log: Vec<PathBuf>,
    /// Take them from a list: one URL or path a line, or CSV with the columns `old,hits,title`.
    #[arg(long, value_name = "FILE")]
    urls: Option<PathBuf>,
    /// The first day of hits that count: a date (2026-01-01), or so many days until today (365d).
    #[arg(long, value_name = "DAY", default_value = "365d", value_parser = day)]
    since: Day,
    /// How many old URLs are looked at, those with the most hits.
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    top: u32,
    /// Add the suggestions of at least this confidence to the site's mapping table: 0.95, or ≥0.95.
    #[arg(long, value_name = "CONFIDENCE", value_parser = threshold)]
    accept: Option<f64>,
    /// Add the rows of a reviewed CSV whose column `accept` says yes, and suggest nothing.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["accept", "sitemap", "table", "log", "urls"])]
    from: Option<PathBuf>,
    /// Say which rows would be added, and add none.
    #[arg(long)]
    dry_run: bool,
    /// Write the CSV for review here.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug)]
enum Day {
    Date(Date),
    /// So many days, today included.
    Last(u32),
}

fn day(text: &str) -> Result<Day, String> {
    let last = text.strip_suffix('d').and_then(|days| days.parse().ok()).filter(|days| *days > 0).map(Day::Last);
    let fault = || format!("`{text}` is neither a date (2026-11-01) nor a number of days (30d)");
    last.or_else(|| text.parse().ok().map(Day::Date)).ok_or_else(fault)
}

fn threshold(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_start_matches(['≥', '>', '=', ' ']);
    let (number, scale) = number.strip_suffix('%').map_or((number, 1.0), |number| (number.trim(), 100.0));
    let fault = || format!("`{text}` is no confidence: a number from 0.5 to 1, as 0.95");
    let number = number.parse::<f64>().map_err(|_| fault())? / scale;
    if (0.5..=1.0).contains(&number) { Ok(number) } else { Err(fault()) }
}

/// Runs the command.
pub(super) fn run(args: &Args, node: &NodeArgs) -> anyhow::Result<ExitCode> {
    let (gateway, _) = load::gateway(node)?;
    let now = load::now();
    let snapshot = load::routes(&gateway, now)?.snapshot;
    let site = site(&gateway, &snapshot, &args.site)?;
    if let Some(reviewed) = &args.from {
        let rows = write::reviewed(reviewed)?;
        let added = write::add(&gateway, &snapshot, site, rows, args.dry_run)?;
        return if args.json {
            print(&format!("{}\n", serde_json::to_string_pretty(&added)?))
        } else {
            eprint!("{}", added.text());
            Ok(ExitCode::SUCCESS)
        };
    }
    let gathered = gather::gather(args, &gateway, snapshot, site, now)?;
    let suggestions = suggest(&gathered.material);
    // The snapshot went into the judge of the logs; the table is judged by what is there now.
    let snapshot = load::routes(&gateway, now)?.snapshot;
    let rows = args.accept.map(|least| write::rows(&gathered, &suggestions, least));
    let added = rows.map(|rows| write::add(&gateway, &snapshot, site, rows, args.dry_run)).transpose()?;
    tell(args, &gathered, &suggestions, added.as_ref())
}

fn tell(
    args: &Args,
    gathered: &Gathered,
    suggestions: &[Suggestion],
    added: Option<&Added>,
) -> anyhow::Result<ExitCode> {
    let order = review::order(gathered, suggestions);
    let csv = || review::csv(gathered, suggestions, &order);
    let summary = review::summary(gathered, suggestions);
    gathered.notes.iter().for_each(|note| eprintln!("waypost: {note}"));
    if let Some(path) = &args.output {
        std::fs::write(path, csv()).map_err(|error| anyhow!("can't write {}: {error}", path.display()))?;
        eprintln!("{} written to {}", count(order.len(), "row"), path.display());
    }
    if args.json {
        let report = review::json(gathered, suggestions, &order, added)?;
        return print(&format!("{report}\n"));
    }
    eprint!("{summary}");
    if let Some(added) = added {
        eprint!("{}", added.text());
    }
    if args.output.is_some() { Ok(ExitCode::SUCCESS) } else { print(&csv()) }
}

/// The number of the site that is asked for.
fn site(gateway: &Gateway, snapshot: &Snapshot, name: &str) -> anyhow::Result<usize> {
    let id = name.strip_suffix(".toml").unwrap_or(name);
    if let Some(number) = snapshot.sites().iter().position(|site| site.id == id) {
        return Ok(number);
    }
    match snapshot.site_of(name.as_bytes(), &mut Scratch::default()) {
        Some(number) => Ok(number),
        None => bail!(
            "`{name}` is no site and no host of one: a site's id is the path of its file below {}, without `.toml`",
            gateway.routes.display()
        ),
    }
}

/// What `--help` says behind the options.
pub(super) const MORE: &str = "EXAMPLES:
  waypost suggest county/jyj --sitemap https://www.county.example/sitemap.xml -o review.csv
  waypost suggest county/jyj --table export.csv --sitemap map.xml.gz --titles old-titles.csv
  waypost suggest county/jyj --table export.csv --log access.log --accept 0.95 --dry-run
  waypost suggest county/jyj --from review.csv                   what a reviewer marked `yes` in the column accept

CONFIDENCE:
  Of a hundred suggestions of 0.95 or more at least 99 were right in the tests, of simulated migrations of several kinds. What it
  is made of stands in the column `reason`: ids in exports, numbers in both addresses, titles, dates, where pages of the same folder
  went. Two pages that are as likely as each other are both unlikely.

WITHOUT --accept nothing is written but the CSV. With it, rows go to the end of the site's table only if the confidence is reached,
  the target is allowed and is no old address itself, and the table is without errors afterwards; else the table stays as it was.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_written_in_several_ways() {
        for text in ["0.95", "≥0.95", ">=0.95", "≥ 0.95", "95%", "≥95 %"] {
            assert_eq!(threshold(text), Ok(0.95), "{text}");
        }
        for text in ["", "≥", "0", "0.49", "1.01", "NaN", "-0.9", "inf"] {
            assert!(threshold(text).is_err(), "{text}");
        }
    }
}
