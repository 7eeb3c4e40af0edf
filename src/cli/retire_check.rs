//! `waypost retire-check`: may the domain of a site be deregistered?

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, anyhow, bail};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::output::print_and;
use super::{NodeArgs, load};
use crate::config::Gateway;
use crate::hits::{By, Calendar, Period, Query, Reader};
use crate::model::HostPattern;
use crate::retire::evidence::{self, Signer};
use crate::retire::{
    CertificateFacts, Demands, Facts, HitFacts, Judgement, OtherHost, SiteFacts, Verdict, Weight, dns, judge,
};
use crate::routing::{Scratch, SiteTable, Snapshot};

/// What is asked.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// The site: its id (the site file without `.toml`, as `county/jyj`) or one of its hosts.
    #[arg(required_unless_present = "verify")]
    site: Option<String>,
    /// How many days of hits are looked at, up to today.
    #[arg(long, value_name = "N", default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3660))]
    days: u32,
    /// Requests by people in that time that are near zero.
    #[arg(long, value_name = "N", default_value_t = 30)]
    hits: u64,
    /// Visitors whom one host may have sent in that time.
    #[arg(long, value_name = "N", default_value_t = 5)]
    referrals: u64,
    /// For how many days visitors must have been redirected, or told.
    #[arg(long, value_name = "N", default_value_t = 365)]
    redirected: u32,
    /// DNS servers to ask, as 192.0.2.53:53; those of the system where absent.
    #[arg(long, value_name = "ADDR")]
    resolver: Vec<SocketAddr>,
    /// Write the evidence, signed, to this file.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The key that signs it (Ed25519, PKCS#8 in PEM), made if it is not there; `.evidence.key` in the folder of certificates where
    /// absent.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Check an evidence file instead: is it as it was signed, and if not, what was changed?
    #[arg(long, value_name = "FILE", conflicts_with_all = ["site", "output"])]
    verify: Option<PathBuf>,
    /// The key that must have signed it: a PEM file, or base64. The own key (--key) where absent.
    #[arg(long, value_name = "KEY", requires = "verify")]
    public_key: Option<String>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(super) fn run(args: &Args, node: &NodeArgs) -> anyhow::Result<ExitCode> {
    let (gateway, _) = load::gateway(node)?;
    let key = args.key.clone().unwrap_or_else(|| gateway.certs.join(KEY));
    if let Some(file) = &args.verify {
        return verify(args, file, &key);
    }
    let now = load::now();
    let snapshot = load::routes(&gateway, now)?.snapshot;
    let name = args.site.as_deref().unwrap_or_default();
    let site = find(&snapshot, name).ok_or_else(|| anyhow!("`{name}` is no site, and no host of one"))?;
    let facts = facts(args, &gateway, &snapshot, site, now);
    let demands = Demands { days: args.days, hits: args.hits, referrals: args.referrals, redirected: args.redirected };
    let judgement = judge(&facts, &demands, now);
    let evidence = json!({
        "asked": moment(now),
        "program": format!("waypost {}", env!("CARGO_PKG_VERSION")),
        "demands": demands,
        "site": facts.site,
        "hits": known(&facts.hits),
        "certificates": known(&facts.certificates),
        "names": facts.names,
        "others-below": facts.others_below,
        "judgement": judgement,
    });
    if let Some(path) = &args.output {
        let signer = Signer::open(&key)?;
        fs::write(path, signer.sign(&evidence)).with_context(|| format!("can't write {}", path.display()))?;
        eprintln!("evidence written to {}, signed by {}", path.display(), signer.public_key());
    }
    let code = if judgement.verdict == Verdict::Yes { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if args.json {
        return print_and(&format!("{}\n", serde_json::to_string_pretty(&evidence)?), code);
    }
    print_and(&text(site, &judgement), code)
}

fn find<'s>(snapshot: &'s Snapshot, name: &str) -> Option<&'s SiteTable> {
    let id = name.strip_suffix(".toml").unwrap_or(name);
    let by_id = snapshot.sites().iter().find(|site| site.id == id);
    let by_host = || snapshot.site_of(name.as_bytes(), &mut Scratch::default()).and_then(|n| snapshot.sites().get(n));
    by_id.or_else(by_host).map(|site| &**site)
}

fn facts(args: &Args, gateway: &Gateway, snapshot: &Snapshot, site: &SiteTable, now: i64) -> Facts {
    let bases = bases(site);
    let others: Vec<OtherHost> = snapshot
        .sites()
        .iter()
        .filter(|other| other.id != site.id)
        .flat_map(|other| other.hosts.iter().map(|host| (host.to_string(), other.id.clone())))
        .filter(|(host, _)| bases.iter().any(|base| host.trim_start_matches("*.").ends_with(&format!(".{base}"))))
        .map(|(host, site)| OtherHost { host, site })
        .collect();
    let own: BTreeSet<String> =
        snapshot.sites().iter().flat_map(|site| site.hosts.iter().map(ToString::to_string)).collect();
    let asked: Vec<String> = bases.iter().take(MOST_NAMES).cloned().collect();
    let names = dns::ask(&asked, &own, &args.resolver).unwrap_or_else(|why| {
        let unanswered = vec![format!("anything: {why}")];
        asked
            .iter()
            .map(|name| dns::NameFacts { name: name.clone(), unanswered: unanswered.clone(), ..Default::default() })
            .collect()
    });
    Facts {
        site: SiteFacts {
            id: site.id.clone(),
            name: site.name.clone(),
            owner: site.owner.clone(),
            code: site.code.clone(),
            hosts: site.hosts.iter().map(ToString::to_string).collect(),
            phase: site.lifecycle.at(now).name(),
            lifecycle: site.lifecycle.starts().iter().map(|&(at, phase)| (phase.name(), at)).collect(),
        },
        hits: hits(args, gateway, site).map_err(|error| format!("{error:#}")),
        certificates: certificates(gateway, site, now),
        names,
        others_below: others,
    }
}

/// The names that would go: hosts without `www.`, and what wildcards stand below.
fn bases(site: &SiteTable) -> Vec<String> {
    let plain = |host: &HostPattern| {
        let host = host.to_string();
        let host = host.trim_start_matches("*.");
        host.strip_prefix("www.").unwrap_or(host).to_owned()
    };
    // Bare addresses are no names.
    let is_name = |host: &String| !host.starts_with('[') && host.parse::<std::net::IpAddr>().is_err();
    let mut bases: Vec<String> = site.hosts.iter().map(plain).filter(is_name).collect();
    bases.sort();
    bases.dedup();
    bases
}

fn hits(args: &Args, gateway: &Gateway, site: &SiteTable) -> anyhow::Result<HitFacts> {
    let Some(database) = &gateway.hits.database else { bail!("gateway.toml has no [hits] database") };
    let mut calendar = Calendar::new(&gateway.hits);
    let period = Period { since: calendar.days_ago(args.days - 1), until: calendar.days_ago(0) };
    let mut reader = Reader::open(database)?;
    let of_site = Query { period, site: Some(&site.id), unmapped: false, top: 20 };
    let sum = reader.sum(&of_site)?;
    let days = reader.groups(&Query { site: None, top: u32::MAX, ..of_site.clone() }, By::Day)?;
    let first = days.first().map(|day| day.name.clone());
    // A month (`2026-11`) counts as a whole.
    let first_day = first.as_ref().map(|name| if name.len() == 7 { format!("{name}-01") } else { name.clone() });
    let first_day = first_day.and_then(|day| day.parse::<jiff::civil::Date>().ok());
    let uncounted = first_day
        .map_or(i64::from(args.days), |first| period.since.until(first).map_or(0, |span| i64::from(span.get_days())));
    let referrers = reader.groups(&of_site, By::Referrer)?;
    let own: BTreeSet<String> = site.hosts.iter().map(ToString::to_string).collect();
    let referrers = referrers.into_iter().filter(|group| !own.contains(&group.name));
    Ok(HitFacts {
        since: period.since.to_string(),
        until: period.until.to_string(),
        counted_since: first,
        uncounted_days: u32::try_from(uncounted.max(0)).unwrap_or(u32::MAX),
        hits: sum.hits,
        bots: sum.bots,
        unmapped: sum.unmapped,
        referrers: referrers.map(|group| (group.name, group.sum.hits)).collect(),
        urls: reader.urls(&of_site)?.into_iter().map(|row| (row.url, row.hits)).collect(),
    })
}

fn certificates(gateway: &Gateway, site: &SiteTable, now: i64) -> Result<Vec<CertificateFacts>, String> {
    let inventory = crate::tls::inventory(gateway).map_err(|error| error.to_string())?;
    let hosts: Vec<String> = site.hosts.iter().map(ToString::to_string).collect();
    let mut found = Vec::new();
    for info in inventory.certificates {
        let covers: Vec<String> = hosts.iter().filter(|host| info.covers(host)).cloned().collect();
        if covers.is_empty() {
            continue;
        }
        let is_own = |name: &String| {
            site.hosts.iter().any(|host| host.to_string() == *name || !name.starts_with('*') && host.matches(name))
        };
        found.push(CertificateFacts {
            file: info.file.to_string(),
            sha256: info.sha256.clone(),
            ends: info.not_after,
            is_valid: info.is_valid_at(now),
            is_renewed: info.is_acme && site.acme,
            covers,
            others: info.names.iter().filter(|name| !is_own(name)).cloned().collect(),
        });
    }
    Ok(found)
}

fn known<T: serde::Serialize>(facts: &Result<T, String>) -> Value {
    match facts {
        Ok(facts) => json!(facts),
        Err(why) => json!({ "unknown": why }),
    }
}

fn text(site: &SiteTable, judgement: &Judgement) -> String {
    let verdict = match judgement.verdict {
        Verdict::Yes => "yes, its domain may be deregistered",
        Verdict::NotYet => "not yet",
        Verdict::Unknown => "unknown: not all could be found out",
    };
    let mut text = format!("{} ({}): {verdict}\n", site.id, site.name);
    for finding in &judgement.findings {
        let mark = match finding.weight {
            Weight::Fine => "fine",
            Weight::Against => "AGAINST",
            Weight::Unknown => "UNKNOWN",
            Weight::ToDo => "to do",
        };
        text += &format!("  {mark:8}{:13}{}\n", finding.what, printable(&finding.text));
    }
    text
}

/// A text of which a terminal obeys nothing: strangers have written their part of it.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

fn verify(args: &Args, file: &Path, key: &Path) -> anyhow::Result<ExitCode> {
    let size = fs::metadata(file).with_context(|| format!("can't read {}", file.display()))?.len();
    if size > MOST_BYTES {
        bail!("{}: this is no evidence file: it is too large", file.display());
    }
    let text = fs::read_to_string(file).with_context(|| format!("can't read {}", file.display()))?;
    let checked = evidence::check(&text).with_context(|| file.display().to_string())?;
    let expected = match &args.public_key {
        Some(given) => Some(evidence::public_key(given)?),
        None if key.is_file() => Some(evidence::public_key(&key.to_string_lossy())?),
        None => None,
    };
    let is_ours = expected.as_ref().map(|expected| *expected == checked.public_key);
    let is_good = checked.is_whole() && is_ours != Some(false);
    let code = if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if args.json {
        let report = json!({
            "good": is_good,
            "signed": checked.is_signed,
            "public-key": checked.public_key,
            "key-is-the-expected-one": is_ours,
            "changed": checked.changed,
        });
        return print_and(&format!("{}\n", serde_json::to_string_pretty(&report)?), code);
    }
    let mut text = String::new();
    for change in &checked.changed {
        text += &format!("{}: {}\n", file.display(), printable(change));
    }
    if !checked.is_signed {
        text += &format!("{}: the signature is not that of its digests\n", file.display());
    }
    text += &match is_ours {
        Some(false) => format!("{}: signed by another key, {}\n", file.display(), printable(&checked.public_key)),
        Some(true) if is_good => format!("{}: as it was signed, by the key that was expected\n", file.display()),
        None if is_good => format!(
            "{}: as it was signed, by {}; whose key that is, --public-key would tell\n",
            file.display(),
            printable(&checked.public_key)
        ),
        _ => String::new(),
    };
    print_and(&text, code)
}

fn moment(seconds: i64) -> String {
    Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// In the folder of certificates.
const KEY: &str = ".evidence.key";
/// Names that DNS is asked about.
const MOST_NAMES: usize = 50;
/// Size of an evidence file.
const MOST_BYTES: u64 = 16 << 20;

/// What `--help` says behind the options.
pub(super) const MORE: &str = "EXAMPLES:
  waypost retire-check county/jyj -o jyj.json          ask, and keep signed evidence
  waypost retire-check --verify jyj.json               is it as it was signed?

WHAT MUST BE SO:
  phase         `archive` or `retired`, a year after notice or redirects began (--redirected)
  hits          few by people in 90 days (--days, --hits), and hits were counted in all of that time
  referrers     no host sends visitors any more (--referrals)
  mail, dns     no mail, services or other names below the domain
  hosts         no host of another site below the domain
  What can't be found out is `unknown`, never `yes`. Certificates and zones are told as things to do.";
