//! `[[rule]]` and `[fallback]`.

use std::ops::Range;

use super::pack_rule::PACK_KEYS;
use super::pattern::Pattern;
use super::reader::{At, Table};
use super::site::{Builder, Place};
use super::template::{Fault, Template};
use crate::model::{Host, RedirectStatus};
use crate::url::Canonicalizer;

/// A checked rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which requests it is for.
    pub pattern: Pattern,
    /// Whether it comes before the mappings.
    pub first: bool,
    /// What it does.
    pub action: Action,
    /// Where its pattern was written: its provenance.
    pub place: Place,
    /// Where its target was written.
    pub target_place: Place,
    /// For other operators.
    pub note: Option<String>,
    /// If it is from a pack: which, and its pattern.
    pub pack: Option<String>,
}

/// What a rule does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Redirect.
    Redirect {
        /// The target.
        to: Template,
        /// Its host.
        host: Host,
        /// The status.
        status: RedirectStatus,
        /// Whether the query is appended as it was sent.
        keep_query: bool,
        /// Whether a page says that the visitor leaves, instead of a redirect.
        leaving: bool,
    },
    /// 410.
    Gone(Links),
    /// 404.
    Missing(Links),
    /// 200 with a fixed text.
    Text {
        /// The body.
        body: String,
        /// Its Content-Type.
        content_type: String,
    },
    /// Proxy to a platform.
    Serve {
        /// Its name in gateway.toml.
        platform: String,
        /// The path to ask for; the old one, with its query, where absent.
        path: Option<Template>,
        /// Whether the query is appended to `path`.
        keep_query: bool,
        /// Whether links in the answer are rewritten; the site's `rewrite` where absent.
        rewrite: Option<bool>,
    },
}

/// What a page of a gone or missing URL offers.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// A page that may help instead.
    pub suggest: Option<Template>,
    /// An archive's copy; the site's `archive` where absent.
    pub archive: Option<Template>,
}

/// What answers a URL that nothing else knows.
#[derive(Clone, Debug)]
pub enum Fallback {
    /// A 404 page.
    Page,
    /// To the site's home.
    Home(RedirectStatus),
    /// A 410 page.
    Gone,
    /// To a target.
    Redirect {
        /// The target.
        to: Template,
        /// Its host.
        host: Host,
        /// The status.
        status: RedirectStatus,
        /// Whether the query is appended as it was sent.
        keep_query: bool,
        /// Where the target was written.
        place: Place,
    },
    /// Proxy to a platform.
    Serve {
        /// Its name in gateway.toml.
        platform: String,
        /// The path to ask for.
        path: Option<Template>,
        /// Where the platform was written.
        place: Place,
    },
}

/// The keys of a rule of which exactly one says what it does.
pub(super) const ACTIONS: [&str; 5] = ["to", "gone", "missing", "text", "serve"];

/// The keys of a fallback that go with some actions only.
const MEANING: [(&str, &[&str]); 5] = [
    ("to", &["redirect"]),
    ("query", &["redirect"]),
    ("status", &["redirect", "home"]),
    ("serve", &["serve"]),
    ("path", &["serve"]),
];

/// Builds a rule; `None` if it is faulty, and the faults are reported.
pub(super) fn build(
    out: &mut Builder<'_>,
    file: u16,
    table: &Table,
    canonicalizer: &Canonicalizer,
    status: RedirectStatus,
) -> Option<Rule> {
    let faults = out.out.len();
    let foreign: Vec<&str> = table.keys().filter(|key| PACK_KEYS.contains(key)).collect();
    if !foreign.is_empty() {
        for key in foreign {
            let hint = Some("`pack = \"…\"` names one; `waypost packs` lists all".to_owned());
            let span = table.key_span(key).unwrap_or_default();
            out.error(file, "bad-rule", span, format!("`{key}` has no meaning without `pack`"), hint);
        }
        return None;
    }
    let pattern = pattern(out, file, table, canonicalizer);
    let no_captures = Vec::new();
    let captures = pattern.as_ref().map_or(&no_captures, |(pattern, _)| &pattern.captures);
    // With a faulty pattern the captures are not known, and complaining about each would only bury the fault.
    let captures_known = pattern.is_some();
    let (action, target_span) = action(out, file, table, captures, captures_known, status)?;
    let (pattern, span) = pattern?;
    if out.out.len() > faults {
        return None;
    }
    Some(Rule {
        first: table.bool("first").is_some_and(|at| *at.value),
        action,
        place: out.place(file, span),
        target_place: out.place(file, target_span),
        note: table.text("note").map(|at| at.value.clone()),
        pattern,
        pack: None,
    })
}

fn pattern(
    out: &mut Builder<'_>,
    file: u16,
    table: &Table,
    canonicalizer: &Canonicalizer,
) -> Option<(Pattern, Range<usize>)> {
    match (table.text("from"), table.text("regex")) {
        (Some(from), None) => Some((out.pattern(file, &from, false, canonicalizer)?, from.span)),
        (None, Some(regex)) => Some((out.pattern(file, &regex, true, canonicalizer)?, regex.span)),
        (Some(_), Some(regex)) => {
            out.error(
                file,
                "bad-rule",
                regex.span,
                "a rule has `from` or `regex`, not both",
                Some("make two rules of it".to_owned()),
            );
            None
        }
        (None, None) if table.lost("from") || table.lost("regex") => None,
        (None, None) => {
            out.error(
                file,
                "bad-rule",
                table.span.clone(),
                "this rule has neither `from` nor `regex`",
                Some("say which old URLs it is for: from = \"/news/{id}.html\"".to_owned()),
            );
            None
        }
    }
}

pub(super) fn action(
    out: &mut Builder<'_>,
    file: u16,
    table: &Table,
    captures: &[String],
    captures_known: bool,
    status: RedirectStatus,
) -> Option<(Action, Range<usize>)> {
    let given: Vec<&str> = table
        .keys()
        .filter(|key| ACTIONS.contains(key))
        // `gone = false` says nothing.
        .filter(|key| table.bool(key).is_none_or(|at| *at.value))
        .collect();
    match given.as_slice() {
        [] if ACTIONS.iter().any(|key| table.lost(key)) => return None,
        [] => {
            out.error(
                file,
                "bad-rule",
                table.span.clone(),
                "this rule does nothing",
                Some("give it one of: to, gone, missing, text, serve".to_owned()),
            );
            return None;
        }
        [_] => {}
        [first, second, ..] => {
            let span = table.key_span(second).unwrap_or_default();
            out.error(
                file,
                "bad-rule",
                span,
                format!("a rule does one thing: `{first}` and `{second}` exclude each other"),
                None,
            );
            return None;
        }
    }
    for (key, actions) in [
        ("query", &["to", "serve"][..]),
        ("status", &["to"]),
        ("leaving", &["to"]),
        ("type", &["text"]),
        ("path", &["serve"]),
        ("rewrite", &["serve"]),
        ("suggest", &["gone", "missing"]),
        ("archive", &["gone", "missing"]),
    ] {
        if let Some(span) = table.key_span(key)
            && !actions.contains(&given[0])
        {
            out.error(
                file,
                "bad-rule",
                span,
                format!("`{key}` has no meaning beside `{}`", given[0]),
                Some(format!("it goes with `{}`", actions.join("` or `"))),
            );
        }
    }
    let sure = |faults| sure(faults, captures_known);
    let span = table.key_span(given[0]).unwrap_or_default();
    let action = match given[0] {
        "to" => {
            let to = table.text("to")?;
            match Template::target(to.value, captures) {
                Ok(_) if !captures_known => return None,
                Ok((template, host)) => {
                    let status = table.status("status").map_or(status, |at| *at.value);
                    let leaving = table.bool("leaving").is_some_and(|at| *at.value);
                    let keep_query = keep_query(table);
                    let action = Action::Redirect { to: template, host, status, keep_query, leaving };
                    return Some((action, to.span));
                }
                Err(faults) => {
                    out.faults_in(file, &to, sure(faults));
                    return None;
                }
            }
        }
        "text" => {
            let body = table.text("text")?.value.clone();
            let content_type = match table.text("type") {
                Some(at) if !at.value.is_ascii() || at.value.chars().any(char::is_control) => {
                    let message = if at.value.is_ascii() {
                        "a header takes printable ASCII characters only"
                    } else {
                        "a header takes ASCII characters only"
                    };
                    out.error(file, "bad-value", at.span, message, None);
                    return None;
                }
                Some(at) => at.value.clone(),
                None => "text/plain; charset=utf-8".to_owned(),
            };
            Action::Text { body, content_type }
        }
        "serve" => {
            let platform = table.text("serve")?;
            let path = path(out, file, table, captures, captures_known);
            return Some((
                Action::Serve {
                    platform: platform.value.clone(),
                    path,
                    keep_query: keep_query(table),
                    rewrite: table.bool("rewrite").map(|at| *at.value),
                },
                platform.span,
            ));
        }
        word => {
            let mut link = |key| -> Option<Template> {
                let at = table.text(key)?;
                Template::link(at.value, captures).map_err(|faults| out.faults_in(file, &at, sure(faults))).ok()
            };
            let links = Links { suggest: link("suggest"), archive: link("archive") };
            if word == "gone" { Action::Gone(links) } else { Action::Missing(links) }
        }
    };
    Some((action, span))
}

/// The faults that don't come from a faulty pattern, whose captures are not known.
fn sure(mut faults: Vec<Fault>, captures_known: bool) -> Vec<Fault> {
    faults.retain(|fault| captures_known || fault.code != "unknown-capture");
    faults
}

pub(super) fn keep_query(table: &Table) -> bool {
    table.text("query").is_some_and(|at| at.value == "keep")
}

fn path(
    out: &mut Builder<'_>,
    file: u16,
    table: &Table,
    captures: &[String],
    captures_known: bool,
) -> Option<Template> {
    let at: At<&String> = table.text("path")?;
    Template::path(at.value, captures).map_err(|faults| out.faults_in(file, &at, sure(faults, captures_known))).ok()
}

/// Builds the fallback; [`Fallback::Page`] if it is faulty, and the faults are reported.
pub(super) fn fallback(out: &mut Builder<'_>, file: u16, table: &Table, status: RedirectStatus) -> Fallback {
    let action = table.text("action").map_or("page", |at| at.value.as_str());
    let status = table.status("status").map_or(status, |at| *at.value);
    // What a lost action had to do with the other keys nobody knows.
    let meaningless = if table.lost("action") { None } else { Some(MEANING) };
    for (key, actions) in meaningless.into_iter().flatten() {
        if let Some(span) = table.key_span(key)
            && !actions.contains(&action)
        {
            let hint = actions.iter().map(|of| format!("`action = \"{of}\"`")).collect::<Vec<_>>().join(" or ");
            out.error(
                file,
                "bad-fallback",
                span,
                format!("`{key}` has no meaning with `action = \"{action}\"`"),
                Some(format!("it goes with {hint}")),
            );
        }
    }
    match action {
        "home" => Fallback::Home(status),
        "gone" => Fallback::Gone,
        "redirect" => {
            let Some(to) = table.text("to") else {
                if !table.lost("to") {
                    out.error(file, "bad-fallback", table.span.clone(), "this fallback has no `to`", None);
                }
                return Fallback::Page;
            };
            match Template::target(to.value, &[]) {
                Ok((template, host)) => {
                    let place = out.place(file, to.span);
                    Fallback::Redirect { to: template, host, status, keep_query: keep_query(table), place }
                }
                Err(faults) => {
                    out.faults_in(file, &to, faults);
                    Fallback::Page
                }
            }
        }
        "serve" => {
            let Some(platform) = table.text("serve") else {
                if !table.lost("serve") {
                    out.error(file, "bad-fallback", table.span.clone(), "this fallback has no `serve`", None);
                }
                return Fallback::Page;
            };
            let path = path(out, file, table, &[], true);
            let place = out.place(file, platform.span);
            Fallback::Serve { platform: platform.value.clone(), path, place }
        }
        _ => Fallback::Page,
    }
}
