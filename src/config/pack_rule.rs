//! `[[rule]] pack = "…"`: the rules of a pack, put in the place of the one that names it.

use std::ops::Range;

use super::diagnostic::suggested;
use super::pattern::Pattern;
use super::reader::{At, Table};
use super::rule::{self, Action, Rule};
use super::site::{Builder, own};
use super::template::Template;
use crate::model::{Host, HostPattern, RedirectStatus};
use crate::packs::{self, Own, Pack, PackRule, SHAPES};
use crate::url::Canonicalizer;

/// Keys that mean something beside `pack` only.
pub(super) const PACK_KEYS: [&str; 8] = ["prefix", "under", "hosts", "article", "column", "file", "search", "page"];

/// Keys that mean nothing beside `pack`.
const FOREIGN: [&str; 5] = ["from", "regex", "text", "type", "path"];

/// What a `[[rule]]` says of where a pack's pages go.
struct Given<'t> {
    file: u16,
    table: &'t Table,
    /// The place of the pack's name.
    span: Range<usize>,
    pack: &'static Pack,
    prefix: Option<At<String>>,
    under: String,
    hosts: Vec<Host>,
    /// Whether a key beside these says what to do with all pages.
    acts: bool,
}

/// Builds the rules of the pack that a table names; none if it is faulty, and the faults are reported.
pub(super) fn expand(
    out: &mut Builder<'_>,
    file: u16,
    table: &Table,
    site_hosts: &[HostPattern],
    canonicalizer: &Canonicalizer,
    status: RedirectStatus,
) -> Vec<Rule> {
    let faults = out.out.len();
    let Some(given) = read(out, file, table, site_hosts) else { return Vec::new() };
    let mut rules = Vec::new();
    for pack_rule in &given.pack.rules {
        for from in &pack_rule.from {
            if pack_rule.own == Some(Own::Each) {
                for host in &given.hosts {
                    let from = from.replace("$host", host.as_str());
                    let one = one(out, &given, pack_rule, &from, Some(host), canonicalizer, status);
                    rules.extend(one);
                }
            } else {
                rules.extend(one(out, &given, pack_rule, from, given.hosts.first(), canonicalizer, status));
            }
            if out.out.len() > faults {
                // The other patterns would say the same.
                return Vec::new();
            }
        }
    }
    // A defaults.toml means sites that have hosts, and a site may have lost its own.
    let may_be_empty = given.pack.needs_no_target() && (file != 0 || out.lost.hosts);
    if rules.is_empty() && !may_be_empty {
        let message = format!("the pack `{}` is given nowhere to go", given.pack.name);
        let shapes: Vec<String> = given.pack.shapes().iter().map(|shape| format!("`{shape}`")).collect();
        let hint = match given.pack.needs_no_target() {
            true => "this site has no host of its own without a wildcard: write prefix = \"https://…\"".to_owned(),
            false => format!(
                "write prefix = \"https://…\" where the new platform keeps the old paths, or targets of your own: {}",
                shapes.join(", ")
            ),
        };
        out.error(file, "bad-pack", given.span, message, Some(hint));
    }
    rules
}

/// Reads and checks what the table says.
fn read<'t>(out: &mut Builder<'_>, file: u16, table: &'t Table, site_hosts: &[HostPattern]) -> Option<Given<'t>> {
    let name = own(table.text("pack")?);
    let Some(pack) = packs::find(&name.value) else {
        let names = packs::all().iter().map(|pack| pack.name.as_str());
        let meant = packs::find_by_any_name(&name.value).map(|pack| pack.name.as_str());
        let hint = match meant.or_else(|| suggested(&name.value, names)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "`waypost packs` lists all".to_owned(),
        };
        out.error(file, "unknown-pack", name.span, format!("unknown pack `{}`", name.value), Some(hint));
        return None;
    };
    let faults = out.out.len();
    let shapes = pack.shapes();
    for key in table.keys() {
        let is_shape = SHAPES.contains(&key);
        let message = if FOREIGN.contains(&key) {
            format!("`{key}` has no meaning beside `pack`")
        } else if is_shape && !shapes.contains(&key) || key == "hosts" && !pack.takes_hosts() {
            format!("the pack `{}` knows no `{key}`", pack.name)
        } else {
            continue;
        };
        let hint = format!("`waypost packs {}` says what it takes", pack.name);
        out.error(file, "bad-pack", table.key_span(key).unwrap_or_default(), message, Some(hint));
    }
    let prefix = table.text("prefix").map(own);
    if let Some(at) = &prefix {
        let parsed = Template::target(&at.value, &[]);
        if let Err(faults) = parsed {
            out.faults_in(file, &At { value: &at.value, span: at.span.clone() }, faults);
        } else if at.value.contains(['?', '#', '{', '}']) {
            let message = "a prefix is the first part of an address, without `?`, `#` and `{`";
            let hint = format!("targets that are more than that are written by shape: {} = \"…\"", shapes.join(", "));
            out.error(file, "bad-pack", at.span.clone(), message, Some(hint));
        }
    }
    let mut under = String::new();
    if let Some(at) = table.text("under") {
        let path = at.value.trim_end_matches('/');
        if !at.value.starts_with('/') || path.contains(['?', '#', '{', '}', '$']) {
            let message = "`under` is the folder where the system stood: a path without `?`, `#` and `{`";
            out.error(file, "bad-pack", at.span, message, Some("write it as \"/cms\"".to_owned()));
        } else {
            path.clone_into(&mut under);
        }
    }
    let mut hosts = Vec::new();
    match table.texts("hosts") {
        Some(list) => {
            for At { value, span } in list.value {
                match Host::parse(value.as_bytes()) {
                    Ok(host) => hosts.push(host),
                    Err(error) => out.error(file, "bad-host", span.clone(), format!("`{value}`: {error}"), None),
                }
            }
        }
        None => hosts.extend(site_hosts.iter().filter_map(|host| match host {
            HostPattern::Exact(host) => Some(host.clone()),
            HostPattern::Below(_) => None,
        })),
    }
    let lost = PACK_KEYS.iter().chain(&rule::ACTIONS).any(|key| table.lost(key));
    if out.out.len() > faults || lost {
        return None;
    }
    let acts = table.keys().any(|key| rule::ACTIONS.contains(&key) && table.bool(key).is_none_or(|at| *at.value));
    if let Some(at) = prefix.as_ref().filter(|_| acts) {
        let message = "`prefix` says where all pages go, and so does another key of this rule";
        out.error(file, "bad-pack", at.span.clone(), message, Some("leave one of them out".to_owned()));
        return None;
    }
    Some(Given { file, table, span: name.span, pack, prefix, under, hosts, acts })
}

/// One pattern of a pack as a rule; none if nothing says where its pages go, or a fault was reported.
fn one(
    out: &mut Builder<'_>,
    given: &Given<'_>,
    pack_rule: &PackRule,
    from: &str,
    host: Option<&Host>,
    canonicalizer: &Canonicalizer,
    status: RedirectStatus,
) -> Option<Rule> {
    let Given { file, table, span, pack, prefix, under, .. } = given;
    let from = format!("{under}{from}");
    let target = table.text(&pack_rule.shape);
    if target.is_none() && prefix.is_none() && !given.acts && (pack_rule.own.is_none() || host.is_none()) {
        return None;
    }
    let pattern = match Pattern::parse(&from, canonicalizer) {
        Ok(pattern) => pattern,
        Err(faults) => {
            // The pack's patterns are tested; with this site's habits one may still mean nothing.
            let why = faults.first().map(|fault| fault.message.clone()).unwrap_or_default();
            let message = format!("a pattern of the pack `{}` is none here: {why} ({from})", pack.name);
            out.error(*file, "bad-pack", span.clone(), message, None);
            return None;
        }
    };
    let status = table.status("status").map_or(status, |at| *at.value);
    let keep_query = pack_rule.query == "keep" || rule::keep_query(table);
    let leaving = table.bool("leaving").is_some_and(|at| *at.value);
    let redirect = |out: &mut Builder<'_>, text: &str, at: &At<&String>| match Template::target(text, &pattern.captures)
    {
        Ok((to, host)) => Some(Action::Redirect { to, host, status, keep_query, leaving }),
        Err(faults) => {
            out.faults_in(*file, at, faults);
            None
        }
    };
    let (action, target_span) = if let Some(at) = target {
        (redirect(out, at.value, &at)?, at.span)
    } else if let Some(at) = prefix {
        let text = format!("{}{}", at.value.trim_end_matches('/'), pack_rule.to);
        (redirect(out, &text, &At { value: &at.value, span: at.span.clone() })?, at.span.clone())
    } else if given.acts {
        rule::action(out, *file, table, &pattern.captures, true, status)?
    } else {
        // A site that wants HTTPS would send its visitors there in a hop of its own.
        let https = out.nearest("", |table| table.text("https")).is_some_and(|(_, at)| at.value != "allow");
        let scheme = if https { "https" } else { "http" };
        let text = format!("{scheme}://{}{}", host?, pack_rule.to);
        (redirect(out, &text, &At { value: &text, span: span.clone() })?, span.clone())
    };
    Some(Rule {
        first: table.bool("first").is_some_and(|at| *at.value),
        action,
        place: out.place(*file, span.clone()),
        target_place: out.place(*file, target_span),
        note: table.text("note").map(|at| at.value.clone()),
        pattern,
        pack: Some(format!("pack {}, {}: {from}", pack.name, pack_rule.shape)),
    })
}
