//! Sites and their mappings → files of a routes folder.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::Context;
use jiff::civil::Date;

use super::link::as_template;
use super::rows::{Kind, Mapping};
use super::site::{Global, Site, past_date};

/// Writes the folder.
///
/// # Errors
/// If a file can't be written.
pub(super) fn write(out: &Path, allowed: &[String], sites: &[Site], tables: &[Vec<Mapping>]) -> anyhow::Result<()> {
    fs::create_dir_all(out).with_context(|| format!("can't create {}", out.display()))?;
    file(out, "defaults.toml", &defaults(allowed))?;
    for (site, table) in sites.iter().zip(tables) {
        file(out, &format!("{}.toml", site.id), &site_file(site))?;
        if !table.is_empty() {
            file(out, &format!("{}.csv", site.id), &table_file(table))?;
        }
    }
    Ok(())
}

fn file(out: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = out.join(name);
    fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))
}

/// Hosts that could always be redirected to.
const ALWAYS_ALLOWED: [&str; 3] = ["*.gov.uk", "*.mod.uk", "*.nhs.uk"];

fn defaults(allowed: &[String]) -> String {
    let foreign = allowed.iter().map(String::as_str).filter(|host| !ALWAYS_ALLOWED.contains(host));
    let allowed: Vec<&str> = ALWAYS_ALLOWED.into_iter().chain(foreign).collect();
    format!("{DEFAULTS_HEAD}allowed-targets = {}\n{DEFAULTS_TAIL}", list(&allowed))
}

const DEFAULTS_HEAD: &str = "\
# Imported from a folder of GOV.UK's Transition programme. What is set here makes the sites answer as they did in
# production. What says \"may be relaxed\" was a limit of that gateway: without it, more spellings of an old URL work.

# Production sent 301 to every method.
status  = 301
archive = \"https://webarchive.nationalarchives.gov.uk/{timestamp}/{url}\"

# Production redirected to these government domains, and to the foreign hosts of whitelist.txt.
";

const DEFAULTS_TAIL: &str = "\
[url]
case           = \"insensitive\"
separators     = \"&;\"       # production was so: `;` separates parameters like `&`
trailing-slash = \"ignore\"
slashes        = \"keep\"     # production was so, may be relaxed: `//` was not `/`
dots           = \"keep\"     # production was so, may be relaxed: `/./` was not `/`
session-id     = \"keep\"     # production was so, may be relaxed: `;jsessionid=…` was part of the path
escapes        = \"keep\"     # production was so, may be relaxed: `%XX` in paths was compared as sent
invalid        = \"refuse\"   # production was so, may be relaxed: raw `<`, `>`, `\"` got 400
trailing-dot   = \"refuse\"   # production was so, may be relaxed: `www.example.gov.uk.` was unknown

[guard]
# Production did not look at the method.
methods = [\"*\"]

# Addresses that production answered by itself on every site: its two test pages, and what its pages loaded.

[[rule]]
from    = \"/404\"
first   = true
missing = true

[[rule]]
from  = \"/410\"
first = true
gone  = true

[[rule]]
from  = \"/gone.css\"
first = true
text  = \"/* pages bring their own style */\"
type  = \"text/css\"

[[rule]]
from  = \"/favicon.ico\"
first = true
text  = \"\"
type  = \"image/vnd.microsoft.icon\"
";

/// When a site is archived that doesn't say since when: long ago.
const LONG_AGO: Date = Date::constant(2000, 1, 1);

fn site_file(site: &Site) -> String {
    let mut out = format!("# Imported from {}.\n", site.file.replace(char::is_control, "?"));
    entry(&mut out, "name", &quoted(&site.name));
    let hosts: Vec<&str> = site.hosts.iter().map(|host| host.as_str()).collect();
    entry(&mut out, "hosts", &list(&hosts));
    for (key, value) in [("home", &site.home), ("owner", &site.owner), ("timestamp", &site.timestamp)] {
        if let Some(value) = value {
            entry(&mut out, key, &quoted(value));
        }
    }
    if site.global == Some(Global::Gone) {
        let date = site.timestamp.as_deref().and_then(past_date).unwrap_or(LONG_AGO);
        out.push_str("\n[lifecycle]\n");
        entry(&mut out, "archive", &date.to_string());
    }
    if !site.keep_query.is_empty() {
        out.push_str("\n[url]\n");
        entry(&mut out, "keep-query", &list(&site.keep_query));
    }
    if let Some(Global::Redirect { to, append }) = &site.global {
        redirect_all(&mut out, to, *append);
    }
    out
}

/// Two entries, since `/` would otherwise go home before the fallback is asked.
fn redirect_all(out: &mut String, to: &str, append: bool) {
    let mut to = as_template(to);
    if append {
        to.truncate(to.trim_end_matches('/').len());
        to.push_str("{path}");
    }
    for header in ["\n[[rule]]\nfrom = \"/\"\nfirst = true\n", "\n[fallback]\naction = \"redirect\"\n"] {
        out.push_str(header);
        entry(out, "to", &quoted(&to));
        if append {
            entry(out, "query", "\"keep\"");
        }
    }
}

fn entry(out: &mut String, key: &str, value: &str) {
    // Writing to a `String` can't fail.
    let _ = writeln!(out, "{key} = {value}");
}

/// A list of texts: one on the line of its key, several on lines of their own.
fn list(items: &[impl AsRef<str>]) -> String {
    match items {
        [] => "[]".to_owned(),
        [one] => format!("[{}]", quoted(one.as_ref())),
        _ => {
            let lines: String = items.iter().map(|item| format!("    {},\n", quoted(item.as_ref()))).collect();
            format!("[\n{lines}]")
        }
    }
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\0'..='\x1f' | '\x7f' => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

fn table_file(table: &[Mapping]) -> String {
    let mut out = String::from("old,new,status,suggest,archive,note\n");
    for Mapping { old, outcome } in table {
        let status = if outcome.kind == Kind::Redirect { "301" } else { "410" };
        let note = if outcome.kind == Kind::Undecided { "undecided" } else { "" };
        let fields = [old, &outcome.new, status, &outcome.suggest, &outcome.archive, note];
        for (n, field) in fields.into_iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            push_field(field, &mut out);
        }
        out.push('\n');
    }
    out
}

fn push_field(field: &str, out: &mut String) {
    if field.contains([',', '"', '\r', '\n']) {
        let _ = write!(out, "\"{}\"", field.replace('"', "\"\""));
    } else {
        out.push_str(field);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_survive_toml() {
        for text in ["", "a \"b\" \\ c", "'''", "\t\u{0}\u{7f}\r\nx", "é 青 {x}", "\\u0041"] {
            let file = format!("a = {}\nb = {}\n", quoted(text), list(&[text, "x"]));
            let table: toml::Table = file.parse().unwrap();
            assert_eq!(table["a"].as_str(), Some(text));
            assert_eq!(table["b"][0].as_str(), Some(text));
        }
    }
}
