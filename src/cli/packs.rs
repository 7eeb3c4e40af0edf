//! `waypost packs`: which packs there are, what each does, and which one a site needs.

use std::process::ExitCode;

use anyhow::bail;
use serde_json::{Value, json};

use super::output::print;
use crate::packs::{self, Kind, Own, Pack};

mod detect;

/// What is asked.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    /// The pack to show: its name, or what people call the system (动易, 织梦 …). All are listed where absent.
    name: Option<String>,
    /// Print as JSON.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say which systems sites ran, by access logs of the old servers or lists of URLs.
    ///
    /// Lists have a URL a line (whole, as host/path, or paths alone), or are CSV with one in a column. For each host: its
    /// system or `unknown`, how sure that is, the evidence, and rules to begin with. Exit code 1: a file can't be read.
    Detect(detect::Args),
}

/// Runs the command.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if let Some(Command::Detect(args)) = &args.command {
        return detect::run(args);
    }
    let Some(name) = &args.name else {
        return if args.json {
            let all: Vec<Value> = packs::all().iter().map(as_json).collect();
            print(&format!("{}\n", serde_json::to_string_pretty(&json!({ "packs": all }))?))
        } else {
            print(&list())
        };
    };
    let Some(pack) = packs::find_by_any_name(name) else {
        let names: Vec<&str> = packs::all().iter().map(|pack| pack.name.as_str()).collect();
        let hint = crate::config::suggestion(name, names.iter().copied())
            .unwrap_or_else(|| format!("there are: {}", names.join(", ")));
        bail!("no pack is called `{name}`: {hint}");
    };
    if args.json {
        return print(&format!("{}\n", serde_json::to_string_pretty(&as_json(pack))?));
    }
    print(&manual(pack))
}

/// All packs, a line each.
fn list() -> String {
    let mut text = String::new();
    for (kind, title) in [
        (Kind::System, "Systems"),
        (Kind::Generic, "Habits of many sites, where no system is known"),
        (Kind::Wrapper, "Around a site, whatever system it ran"),
    ] {
        text.push_str(&format!("{title}:\n"));
        for pack in packs::all().iter().filter(|pack| pack.kind == kind) {
            let example = pack.examples.first().map_or("", |example| &example.url);
            text.push_str(&format!("  {:<16} {}: {}\n", pack.name, pack.zh, example));
        }
        text.push('\n');
    }
    text + "`waypost packs NAME` shows one; `waypost packs detect FILE…` says which ones sites need.\n"
}

/// The manual page of a pack.
fn manual(pack: &Pack) -> String {
    let mut text = format!("{}: {} ({})\n", pack.name, pack.zh, pack.en);
    if !pack.aliases.is_empty() {
        text.push_str(&format!("also called {}\n", pack.aliases.join(", ")));
    }
    text.push_str(&format!("\n{}\n", pack.doc.trim()));
    text.push_str("\nPASTE INTO A SITE FILE\n");
    for line in snippet(pack, "https://www.new.example/path").lines() {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str("\nKEYS\n");
    for (name, doc, captures) in keys(pack) {
        text.push_str(&format!("  {name:<8} {doc}\n"));
        if !captures.is_empty() {
            let captures: Vec<String> = captures.iter().map(|name| format!("{{{name}}}")).collect();
            text.push_str(&format!("           captures: {}\n", captures.join(" ")));
        }
    }
    text.push_str("  and, as in any rule: first, status, leaving, note; gone, missing, serve or to for all pages\n");
    text.push_str("\nRULES, in the order in which they are tried\n");
    for rule in &pack.rules {
        let unconfirmed = if rule.unconfirmed { " (unconfirmed)" } else { "" };
        text.push_str(&format!("  {}: {}{unconfirmed}\n", rule.shape, rule.doc));
        for from in &rule.from {
            text.push_str(&format!("    from  {from}\n"));
        }
        text.push_str(&format!("    to    PREFIX{}\n", rule.to));
    }
    let signs: Vec<_> = pack.signs.iter().collect();
    if !signs.is_empty() {
        text.push_str("\nFURTHER SIGNS of the system\n");
        for sign in signs {
            let unconfirmed = if sign.unconfirmed { " (unconfirmed)" } else { "" };
            text.push_str(&format!("  {}{unconfirmed}: {}\n", sign.doc, sign.like.join("  ")));
        }
    }
    text.push_str("\nEXAMPLES, at the host old.example\n");
    for example in &pack.examples {
        let with: Vec<String> = example.with.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        text.push_str(&format!("  {}\n", example.url));
        if !with.is_empty() {
            text.push_str(&format!("    with {}\n", with.join(", ")));
        }
        text.push_str(&format!("    → {}\n", example.expect));
    }
    text
}

/// A rule to begin with; its targets begin with `prefix`.
pub(super) fn snippet(pack: &Pack, prefix: &str) -> String {
    let mut text = format!("[[rule]]\npack   = \"{}\"\n", pack.name);
    if !pack.needs_no_target() {
        text.push_str(&format!("prefix = \"{prefix}\"\n"));
    }
    text
}

/// The keys of a pack: name, manual, and the captures that a target may use.
fn keys(pack: &Pack) -> Vec<(String, String, Vec<String>)> {
    let mut keys =
        vec![("prefix".to_owned(), "the old paths are kept below this URL, as RULES shows".to_owned(), Vec::new())];
    for shape in pack.shapes() {
        let docs: Vec<&str> =
            pack.rules.iter().filter(|rule| rule.shape == shape).map(|rule| rule.doc.as_str()).collect();
        keys.push((shape.to_owned(), format!("target of {}", docs.join("; ")), captures(pack, shape)));
    }
    if pack.takes_hosts() {
        keys.push((
            "hosts".to_owned(),
            "the hosts that are taken off; the site's own where absent".to_owned(),
            Vec::new(),
        ));
    }
    keys.push((
        "under".to_owned(),
        "the folder below which the system stood; the root where absent".to_owned(),
        Vec::new(),
    ));
    keys
}

/// The captures that all patterns of a shape have.
fn captures(pack: &Pack, shape: &str) -> Vec<String> {
    let froms: Vec<&String> =
        pack.rules.iter().filter(|rule| rule.shape == shape).flat_map(|rule| &rule.from).collect();
    let all: Vec<Vec<String>> = froms.iter().map(|from| crate::config::pattern::capture_names(from)).collect();
    let Some((first, others)) = all.split_first() else { return Vec::new() };
    first.iter().filter(|name| others.iter().all(|names| names.contains(name))).cloned().collect()
}

fn as_json(pack: &Pack) -> Value {
    let rules = pack.rules.iter().map(|rule| {
        json!({
            "shape": rule.shape,
            "doc": rule.doc,
            "from": rule.from,
            "to": format!("{{prefix}}{}", rule.to),
            "query": if rule.query.is_empty() { "drop" } else { &rule.query },
            "own_hosts": match rule.own { None => "no", Some(Own::First) => "first", Some(Own::Each) => "each" },
            "sign": rule.sign,
            "unconfirmed": rule.unconfirmed,
        })
    });
    let signs = pack
        .signs
        .iter()
        .map(|sign| json!({ "doc": sign.doc, "like": sign.like, "sign": sign.sign, "unconfirmed": sign.unconfirmed }));
    let keys =
        keys(pack).into_iter().map(|(name, doc, captures)| json!({ "name": name, "doc": doc, "captures": captures }));
    let examples = pack.examples.iter().map(|example| {
        let with: serde_json::Map<String, Value> = example
            .with
            .iter()
            .map(|(key, value)| (key.clone(), serde_json::to_value(value).unwrap_or(Value::Null)))
            .collect();
        json!({ "url": example.url, "with": with, "expect": example.expect })
    });
    json!({
        "name": pack.name,
        "aliases": pack.aliases,
        "zh": pack.zh,
        "en": pack.en,
        "kind": pack.kind,
        "doc": pack.doc.trim(),
        "snippet": snippet(pack, "https://www.new.example/path"),
        "keys": keys.collect::<Vec<_>>(),
        "rules": rules.collect::<Vec<_>>(),
        "signs": signs.collect::<Vec<_>>(),
        "examples": examples.collect::<Vec<_>>(),
    })
}
