//! `waypost explain`: the guard's own ruling and the traffic's own decision, told step by step.

use std::{ffi::OsStr, net::IpAddr, os::unix::ffi::OsStrExt, process::ExitCode, time::Instant};

use serde_json::json;

use super::output::print;
use super::{NodeArgs, load};
use crate::config::GuardSettings;
use crate::guard::{Crawlers, Guard, Notes, Policy, Ruling, Trace, View};
use crate::model::{Method, Verdict};
use crate::routing::{Decision, Request, Scratch, SiteTable, Step};
use crate::url::split_absolute;

/// What is asked besides the URL.
#[derive(Debug, clap::Args)]
pub(super) struct Asked {
    /// Decide as of this date (2027-01-31) or moment (2027-01-31T08:00:00+08:00).
    #[arg(long, value_parser = super::parse_date)]
    date: Option<i64>,
    /// Method of the request.
    #[arg(long, default_value = "GET")]
    method: String,
    /// Address of the client. Without it the request comes from nowhere, which no rule about addresses holds for.
    #[arg(long)]
    from: Option<IpAddr>,
    /// A header field of the request, as `Name: value`. May be given several times.
    #[arg(long, value_parser = field)]
    header: Vec<(String, String)>,
}

fn field(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header field is written `Name: value`")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

/// Explains one URL.
pub(super) fn run(url: &OsStr, node: &NodeArgs, asked: &Asked, json: bool) -> anyhow::Result<ExitCode> {
    let (gateway, _) = load::gateway(node)?;
    let now = asked.date.unwrap_or_else(load::now);
    let routes = load::routes(&gateway, now)?;
    let (secure, host, target) = split(url.as_bytes());
    let user_agent = asked.header.iter().find(|(name, _)| name.eq_ignore_ascii_case("user-agent"));
    let request = Request {
        method: Method::parse(&asked.method),
        host: Some(&host),
        target: &target,
        secure,
        user_agent: user_agent.map_or(b"", |(_, agent)| agent.as_bytes()),
    };
    let mut steps = Steps::default();
    let mut scratch = Scratch::default();
    let number = routes.snapshot.site_of(&host, &mut scratch);
    let site = number.and_then(|number| Some((number, routes.snapshot.sites().get(number)?)));
    let settings = site.map_or_else(GuardSettings::default, |(_, site)| site.guard.clone());
    let policy = Policy::new(&settings, routes.snapshot.guard(), routes.snapshot.sources());
    let table = site.map(|(_, site)| &**site);
    let ruling = match routes.snapshot.challenge(table, request.method, &target) {
        // As `serve` does.
        Some(_) => Ruling::Admit,
        None => admit(&policy, table, &request, asked, &mut steps),
    };
    let Steps(mut steps) = steps;
    let decision = match ruling {
        Ruling::Admit => routes.snapshot.decide_traced(&request, now, &mut scratch, &mut steps),
        Ruling::Redirect { ref location, status } => {
            Decision { site, ..routes.snapshot.undecided(Verdict::Redirect { status, location }) }
        }
        Ruling::Refuse(denial) => Decision { site, ..routes.snapshot.undecided(Verdict::Denied(denial)) },
    };
    let url = url.to_string_lossy();
    print(&if json { as_json(&url, &decision, &steps)? } else { as_text(&url, &decision, &steps) })
}

/// What the guard makes of it, as if it were the first request.
fn admit(policy: &Policy, site: Option<&SiteTable>, request: &Request<'_>, asked: &Asked, steps: &mut Steps) -> Ruling {
    let Request { host, target, secure, .. } = *request;
    let view = View {
        site: site.map_or("", |site| &site.id),
        method: &asked.method,
        host,
        target,
        secure,
        client: asked.from,
        is_many: false,
        fields: &asked.header,
        habits: site.map(|site| site.canonicalizer.settings()),
        is_mapped: &|| site.is_some_and(|site| site.has_mapping(target)),
    };
    let now = Instant::now();
    // Nobody waits here for what DNS says of a crawler: none is verified.
    let crawlers = Crawlers::new(&[]);
    let ruling = Guard::new(1, crawlers, now).admit(policy, &view, now, &mut Notes::default(), steps);
    if ruling == Ruling::Admit {
        steps.step("guard", || "admitted".to_owned());
    }
    ruling
}

/// What is told of the way of a request.
#[derive(Default)]
struct Steps(Vec<Step>);

impl Trace for Steps {
    fn step(&mut self, filter: &'static str, found: impl FnOnce() -> String) {
        self.0.push(Step { step: filter, detail: found(), source: None });
    }
}

/// Scheme, host and request target of what the operator typed.
fn split(url: &[u8]) -> (bool, Vec<u8>, Vec<u8>) {
    let with_scheme = [b"http://", url].concat();
    let (secure, host, target) = match split_absolute(url).or_else(|| split_absolute(&with_scheme)) {
        Some(absolute) => (absolute.secure, absolute.authority.to_vec(), absolute.target.to_vec()),
        None => (false, url.to_vec(), Vec::new()),
    };
    // A URL without a path asks for `/` (RFC 9110, 4.2.3), as a client would send it.
    let path = if target.starts_with(b"/") || target.starts_with(b"\\") { &b""[..] } else { b"/" };
    (secure, host, [path, &target].concat())
}

fn as_json(url: &str, decision: &Decision<'_>, steps: &[Step]) -> anyhow::Result<String> {
    let links = links(&decision.verdict);
    let report = json!({
        "url": url,
        "host": decision.host,
        "site": decision.site.map(|(_, site)| &site.id),
        "site_name": decision.site.map(|(_, site)| &site.name),
        "phase": decision.phase.map(|phase| phase.name()),
        "steps": steps,
        "verdict": decision.verdict.outcome().name(),
        "status": decision.verdict.status(),
        "location": decision.verdict.location(),
        "details": links.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect::<serde_json::Map<_, _>>(),
        "source": decision.source.map(|source| source.to_string()),
    });
    Ok(format!("{}\n", serde_json::to_string_pretty(&report)?))
}

fn as_text(url: &str, decision: &Decision<'_>, steps: &[Step]) -> String {
    let mut text = format!("{url}\n");
    let width = steps.iter().map(|step| step.step.len()).max().unwrap_or(0).max("verdict".len());
    for step in steps {
        let source = step.source.as_ref().map(|source| format!("  ({source})")).unwrap_or_default();
        text.push_str(&format!("  {:<width$}  {}{source}\n", step.step, step.detail));
    }
    let verdict = &decision.verdict;
    let location = verdict.location().map(|to| format!(" {to}")).unwrap_or_default();
    let source = decision.source.map(|source| format!("  ({source})")).unwrap_or_default();
    text.push_str(&format!(
        "  {:<width$}  {} {}{location}{source}\n",
        "verdict",
        verdict.status(),
        verdict.outcome().name()
    ));
    for (name, value) in links(verdict) {
        text.push_str(&format!("  {name:<width$}  {value}\n"));
    }
    text
}

/// What a verdict carries besides status and location.
fn links<'a>(verdict: &Verdict<'a>) -> Vec<(&'static str, &'a str)> {
    match verdict {
        Verdict::Gone(gone) | Verdict::NotFound(gone) => gone
            .suggest
            .map(|link| ("suggest", link))
            .into_iter()
            .chain(gone.archive.map(|link| ("archive", link)))
            .collect(),
        Verdict::Notice { location } => vec![("goes to", *location)],
        Verdict::Leaving { location } => vec![("leaves for", *location)],
        Verdict::Frozen { target } => vec![("frozen", *target)],
        Verdict::HttpsRequired { location } => vec![("links to", *location)],
        Verdict::Serve { platform, path, .. } => vec![("platform", *platform), ("path", *path)],
        Verdict::Refused { target } => vec![("refused", *target)],
        Verdict::Challenge { token } => vec![("token", *token)],
        Verdict::BadRequest(reason) => vec![("reason", *reason)],
        Verdict::Denied(denial) => vec![("reason", denial.reason.name()), ("because", denial.reason.text())],
        _ => Vec::new(),
    }
}
