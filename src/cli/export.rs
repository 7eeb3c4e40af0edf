//! `waypost export`.

use std::{fmt::Write, fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::output::{count, print};
use super::{NodeArgs, load};
use crate::config::{Gateway, HitsDatabase};
use crate::export::{Export, HostReport};
use crate::hits::{Calendar, Period, Query, Reader};
use crate::model::HostPattern;
use crate::routing::SiteTable;

/// What is exported, and where to.
#[derive(Clone, Debug, Args)]
pub(super) struct ExportArgs {
    /// Of these sites only: ids (site files without `.toml`, as `county/jyj`) or hosts. All where absent.
    sites: Vec<String>,
    /// Of sites of this owner only.
    #[arg(long)]
    owner: Option<String>,
    /// The folder to write to, one folder a host; it is made where it is missing.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Take in URLs that people asked for and rules redirect, too: those in the database of hits. Without it, pairs come from
    /// mappings alone.
    #[arg(long)]
    hits: bool,
    /// Write old URLs with https://, as search engines know them where the old site had it.
    #[arg(long)]
    https: bool,
    /// As of this date (2027-01-31) or moment (2027-01-31T08:00:00+08:00).
    #[arg(long, value_parser = super::parse_date)]
    date: Option<i64>,
    /// Print what was written as JSON.
    #[arg(long)]
    json: bool,
}

/// What `--help` says below the options.
pub(super) const MORE: &str = "FILES, of each host:
  pairs-1.txt …    `OLD NEW`, a pair a line, at most 50,000 a file: for Baidu's tool for sites that have moved. No two
                   have the same new URL. Old URLs are in canonical spelling (lower case where a site ignores case)
  many-to-one.csv  old URLs that share a new one, which Baidu does not take
  left-out.csv     old URLs that can't be a pair, and why: a temporary redirect, a frozen host …
  sitemap.xml …    the old URLs, as the gateway shows them to crawlers; they come, and find the redirects

EXAMPLES:
  waypost export -o pairs
  waypost export jyj.qingshan.example --hits -o pairs";

/// Writes the files.
pub(super) fn run(node: &NodeArgs, args: &ExportArgs) -> anyhow::Result<ExitCode> {
    let (gateway, _) = load::gateway(node)?;
    let now = args.date.unwrap_or_else(load::now);
    let snapshot = load::routes(&gateway, now)?.snapshot;
    let sites: Vec<&SiteTable> = match args.sites.as_slice() {
        [] => snapshot.sites().iter().map(|site| &**site).collect(),
        names => names.iter().map(|name| load::site(&snapshot, name)).collect::<anyhow::Result<_>>()?,
    };
    let is_wanted = |site: &&SiteTable| args.owner.is_none() || site.owner == args.owner;
    let sites: Vec<&SiteTable> = sites.into_iter().filter(is_wanted).collect();
    if sites.is_empty() {
        bail!("no site is owned by `{}`", args.owner.as_deref().unwrap_or_default());
    }
    let mut asked = Asked::new(&gateway, args.hits)?;
    fs::create_dir_all(&args.output).with_context(|| format!("can't make {}", args.output.display()))?;
    let export = Export { snapshot: &snapshot, now, secure: args.https, folder: &args.output };
    let (mut hosts, mut skipped, mut wildcards) = (Vec::new(), Vec::new(), Vec::new());
    for site in sites {
        let written = export.site(site, &asked.of(site)?);
        let written = written.with_context(|| format!("can't write below {}", args.output.display()))?;
        match written {
            Some(written) => {
                hosts.extend(written);
                wildcards.extend(site.hosts.iter().filter(|host| matches!(host, HostPattern::Below(_))));
            }
            None => skipped.push((&*site.id, site.lifecycle.at(now))),
        }
    }
    if args.json {
        let skipped = skipped.iter().map(|(site, phase)| json!({ "site": site, "phase": phase.name() }));
        let wildcards = wildcards.iter().map(ToString::to_string);
        let report = json!({
            "hosts": hosts,
            "skipped": skipped.collect::<Vec<_>>(),
            "wildcards": wildcards.collect::<Vec<_>>(),
        });
        return print(&format!("{}\n", serde_json::to_string_pretty(&report)?));
    }
    let mut out = table(&hosts);
    // Writing to a String can't fail.
    for (site, phase) in skipped {
        let _ = writeln!(out, "{site} has no pairs: it is in phase {phase}");
    }
    for host in wildcards {
        let _ = writeln!(out, "{host} has no files: which hosts it stands for is not known");
    }
    print(&out)
}

fn table(hosts: &[HostReport]) -> String {
    let mut out = String::from("   PAIRS  FILES  MANY TO ONE  LEFT OUT  HOST\n");
    let (mut pairs, mut many, mut left_out) = (0, 0, 0);
    for host in hosts {
        let files = host.files.len();
        // Writing to a String can't fail.
        let _ = writeln!(
            out,
            "{:>8}  {files:>5}  {:>11}  {:>8}  {}",
            host.pairs, host.many_to_one, host.left_out, host.host
        );
        pairs += host.pairs;
        many += host.many_to_one;
        left_out += host.left_out;
    }
    let hosts = count(hosts.len(), "host");
    let _ = writeln!(out, "{} of {hosts}; {many} many to one, {left_out} left out", count(pairs, "pair"));
    out
}

/// Where URLs that were asked for are known from.
struct Asked(Option<(Reader, Period)>);

impl Asked {
    fn new(gateway: &Gateway, is_wanted: bool) -> anyhow::Result<Self> {
        if !is_wanted {
            return Ok(Asked(None));
        }
        let database: Option<&HitsDatabase> = gateway.hits.database.as_ref();
        let database = database.context("hits are not counted: gateway.toml has no [hits] database")?;
        let until = Calendar::new(&gateway.hits).today();
        let since = jiff::civil::date(1970, 1, 1);
        Ok(Asked(Some((Reader::open(database)?, Period { since, until }))))
    }

    /// Canonical URLs of a site, in their order.
    fn of(&mut self, site: &SiteTable) -> anyhow::Result<Vec<String>> {
        let Some((reader, period)) = &mut self.0 else { return Ok(Vec::new()) };
        let query = Query { period: *period, site: Some(&site.id), unmapped: false, top: u32::MAX };
        let urls = reader.urls(&query)?.into_iter().map(|url| url.url);
        let mut urls: Vec<String> = urls.filter(|url| url.starts_with('/')).collect();
        // By how it was answered, a URL stands there several times.
        urls.sort();
        urls.dedup();
        Ok(urls)
    }
}
