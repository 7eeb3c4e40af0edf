//! One key of a TOML text, and nothing else: comments, order, alignment and line ends stay as they are.
//!
//! The parser says where keys and values stand, and the text is cut there. Printing its tree again would not do: line ends and what
//! stands between tables would come out another way.

use std::{fmt::Write as _, ops::Range};

use toml_edit::{Document, InlineTable, Item, Table};

/// Why a text can't be edited.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditFault {
    /// It is no TOML.
    #[error("it is no valid TOML: {0}")]
    Syntax(String),
    /// Something stands where the table should.
    #[error("`{0}` is no table")]
    NoTable(String),
    /// The edit does not read as it should: nothing was changed.
    #[error("`{0}` is written in a way that can't be edited: do it by hand")]
    Unusual(String),
}

/// The text with `key = value` (a value as TOML has it) in the table `path`, the top where that is empty. A new key comes behind the nearest
/// one that `order` has before it. A new table stands behind the keys of the top, or at the end of the text if `last`.
///
/// # Errors
/// When the text can't be edited.
pub fn set(text: &str, path: &[&str], key: &str, value: &str, order: &[&str], last: bool) -> Result<String, EditFault> {
    let document = parse(text)?;
    let edited = match table(document.as_table(), path)? {
        Some(found) => match found.value(key) {
            Some(span) => splice(text, span, value),
            None => insert(text, &found, path, key, value, order),
        },
        None => add_table(text, document.as_table(), path, key, value, last),
    };
    let edited = edited.ok_or_else(|| EditFault::Unusual(name(path, key)))?;
    // Whatever was overlooked above is found here.
    let written = read(&edited, path, key).ok_or_else(|| EditFault::Unusual(name(path, key)))?;
    let alone = format!("x = {value}\n");
    let is_one = alone.parse::<toml::Table>().is_ok_and(|table| table.len() == 1);
    let meant = read(&alone, &[], "x").filter(|_| is_one);
    if meant.as_deref() == Some(&*written) { Ok(edited) } else { Err(EditFault::Unusual(name(path, key))) }
}

/// The text without a key of the table `path`, and without the rest of its line.
///
/// # Errors
/// When the text can't be edited.
pub fn remove(text: &str, path: &[&str], key: &str) -> Result<String, EditFault> {
    let document = parse(text)?;
    let Some(found) = table(document.as_table(), path)? else { return Ok(text.to_owned()) };
    let (Some(at), Some(value)) = (found.key(key), found.value(key)) else { return Ok(text.to_owned()) };
    let edited = match found {
        Found::Inline(_) => {
            let after = text[value.end..].trim_start();
            match after.strip_prefix(',') {
                Some(rest) => splice(text, at.start..text.len() - rest.trim_start().len(), ""),
                None => {
                    let before = text[..at.start].trim_end();
                    let before = before.strip_suffix(',').unwrap_or(before);
                    splice(text, before.trim_end().len()..value.end, "")
                }
            }
        }
        Found::Table(_) => {
            let start = line_start(text, at.start);
            let is_alone =
                text[start..at.start].trim_matches([' ', '\t', '.']).split('.').all(|word| !word.contains('='));
            is_alone.then(|| splice(text, start..line_end(text, value.end), "")).flatten()
        }
    };
    let edited = edited.ok_or_else(|| EditFault::Unusual(name(path, key)))?;
    match read(&edited, path, key) {
        None if parse(&edited).is_ok() => Ok(edited),
        _ => Err(EditFault::Unusual(name(path, key))),
    }
}

/// The text with one more value at the end of a list.
///
/// # Errors
/// When the text can't be edited, or there is no such list.
pub fn push(text: &str, path: &[&str], key: &str, value: &str) -> Result<String, EditFault> {
    let document = parse(text)?;
    let unusual = || EditFault::Unusual(name(path, key));
    let found = table(document.as_table(), path)?.ok_or_else(unusual)?;
    let list = found.item(key).and_then(|item| item.as_array()).ok_or_else(unusual)?;
    let spans: Vec<Range<usize>> = list.iter().filter_map(|item| item.span()).collect();
    let edited = match spans.as_slice() {
        [] => splice(text, list.span().ok_or_else(unusual)?, &format!("[{value}]")),
        [.., last] => {
            // Where the last stands on a line of its own, the new one does too.
            let start = line_start(text, last.start);
            let lead = &text[start..last.start];
            let gap = if lead.trim().is_empty() { format!("{}{lead}", line_break(text)) } else { " ".to_owned() };
            splice(text, last.end..last.end, &format!(",{gap}{value}"))
        }
    };
    let edited = edited.ok_or_else(unusual)?;
    let document = parse(&edited).map_err(|_| unusual())?;
    let found = table(document.as_table(), path)?.ok_or_else(unusual)?;
    let count = found.item(key).and_then(|item| item.as_array()).map_or(0, toml_edit::Array::len);
    if count == spans.len() + 1 { Ok(edited) } else { Err(unusual()) }
}

/// A TOML basic string.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                // Writing to a `String` can't fail.
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A table of the text: with a header or dotted keys, or within braces.
enum Found<'a> {
    Table(&'a Table),
    Inline(&'a InlineTable),
}

impl Found<'_> {
    fn key(&self, key: &str) -> Option<Range<usize>> {
        match self {
            Found::Table(table) => table.key(key)?.span(),
            Found::Inline(table) => table.key(key)?.span(),
        }
    }

    fn item(&self, key: &str) -> Option<&toml_edit::Value> {
        match self {
            Found::Table(table) => table.get(key)?.as_value(),
            Found::Inline(table) => table.get(key),
        }
    }

    fn value(&self, key: &str) -> Option<Range<usize>> {
        self.item(key)?.span()
    }

    /// Its keys that have values, in the order of the text: name, and where key and value stand.
    fn entries(&self) -> Vec<(String, Range<usize>, Range<usize>)> {
        let names: Vec<String> = match self {
            Found::Table(table) => table.iter().map(|(name, _)| name.to_owned()).collect(),
            Found::Inline(table) => table.iter().map(|(name, _)| name.to_owned()).collect(),
        };
        let entry = |name: String| Some((name.clone(), self.key(&name)?, self.value(&name)?));
        let mut entries: Vec<_> = names.into_iter().filter_map(entry).collect();
        entries.sort_by_key(|(_, key, _)| key.start);
        entries
    }
}

fn parse(text: &str) -> Result<Document<&str>, EditFault> {
    Document::parse(text).map_err(|error| EditFault::Syntax(error.message().to_owned()))
}

fn table<'a>(top: &'a Table, path: &[&str]) -> Result<Option<Found<'a>>, EditFault> {
    let mut found = Found::Table(top);
    for (depth, name) in path.iter().enumerate() {
        let no_table = || EditFault::NoTable(path[..=depth].join("."));
        found = match found {
            Found::Table(table) => match table.get(name) {
                None => return Ok(None),
                Some(Item::Table(inner)) => Found::Table(inner),
                Some(item) => Found::Inline(item.as_inline_table().ok_or_else(no_table)?),
            },
            Found::Inline(table) => match table.get(name) {
                None => return Ok(None),
                Some(value) => Found::Inline(value.as_inline_table().ok_or_else(no_table)?),
            },
        };
    }
    Ok(Some(found))
}

fn insert(text: &str, found: &Found<'_>, path: &[&str], key: &str, value: &str, order: &[&str]) -> Option<String> {
    let entries = found.entries();
    let rank = |name: &str| order.iter().position(|known| *known == name);
    let before = entries.iter().rfind(|(name, _, _)| match (rank(name), rank(key)) {
        (Some(other), Some(own)) => other < own,
        (_, own) => own.is_none(),
    });
    let name = bare(key);
    if let Found::Inline(table) = found {
        return match (before, entries.first()) {
            (Some((_, _, at)), _) => splice(text, at.end..at.end, &format!(", {name} = {value}")),
            (None, Some((_, at, _))) => splice(text, at.start..at.start, &format!("{name} = {value}, ")),
            (None, None) => splice(text, table.span()?, &format!("{{ {name} = {value} }}")),
        };
    }
    let Found::Table(table) = found else { return None };
    let Some((_, anchor, anchor_value)) = before.or(entries.first()) else {
        // A header with nothing below it.
        let start = table.span()?.start;
        let at = line_end(text, start);
        let line = format!("{name} = {value}{}", line_break(text));
        return splice(text, at..at, &(missing_break(text, at) + &line));
    };
    let start = line_start(text, anchor.start);
    let lead = &text[start..anchor.start];
    // A dotted key brings its path; anything else before a key is not what this knows.
    let is_dotted = lead.contains('.');
    if !lead.trim().is_empty() && (!is_dotted || lead.contains('=')) {
        return None;
    }
    // In one line with its neighbours: `=` below `=`.
    let between = &text[anchor.end..anchor_value.start];
    let (gap, behind) = between.split_once('=')?;
    let width = anchor.len() + gap.len();
    let pad = " ".repeat(width.saturating_sub(name.len()).max(usize::from(!gap.is_empty())));
    let behind = if behind.trim().is_empty() && !behind.contains('\n') { behind } else { " " };
    let line = format!("{lead}{name}{pad}={behind}{value}{}", line_break(text));
    let at = if before.is_some() { line_end(text, anchor_value.end) } else { start };
    debug_assert!(path.is_empty() || table.is_dotted() || !is_dotted || !lead.is_empty());
    splice(text, at..at, &(missing_break(text, at) + &line))
}

fn add_table(text: &str, top: &Table, path: &[&str], key: &str, value: &str, last: bool) -> Option<String> {
    let end = line_break(text);
    let header: Vec<String> = path.iter().map(|name| bare(name)).collect();
    let block = format!("[{}]{end}{} = {value}{end}", header.join("."), bare(key));
    // Behind the table that it is a part of.
    let parent = match path {
        [parent @ .., _] if !parent.is_empty() => match table(top, parent).ok()? {
            Some(Found::Table(table)) => Some(table),
            Some(Found::Inline(_)) => return None,
            None => None,
        },
        _ => None,
    };
    let own = Found::Table(parent.unwrap_or(top));
    let at = match own.entries().last() {
        Some((_, _, value)) if !last || parent.is_some() => line_end(text, value.end),
        None if parent.is_some() => line_end(text, parent?.span()?.start),
        None if !last => 0,
        _ => text.len(),
    };
    let dotted = |item: &Item| item.as_table().is_some_and(Table::is_dotted);
    // Dotted keys of the top stand among the others.
    let at = match parent.is_none() && !last {
        true => top.iter().filter(|(_, item)| dotted(item)).fold(at, |at, (_, item)| at.max(deepest(text, item))),
        false => at,
    };
    let follows = if at == text.len() || text[at..].starts_with(['\n', '\r']) { "" } else { end };
    let before = if at == 0 { "" } else { end };
    splice(text, at..at, &format!("{}{before}{block}{follows}", missing_break(text, at)))
}

/// Where the line of the last value below a dotted key ends.
fn deepest(text: &str, item: &Item) -> usize {
    match item {
        Item::Table(table) => table.iter().map(|(_, item)| deepest(text, item)).max().unwrap_or(0),
        item => item.span().map_or(0, |span| line_end(text, span.end)),
    }
}

/// What a key says, printed the same way however it is written.
fn read(text: &str, path: &[&str], key: &str) -> Option<String> {
    let mut value: &toml::Value = &text.parse::<toml::Table>().ok()?.into();
    for name in path {
        value = value.get(name)?;
    }
    value.get(key).map(ToString::to_string)
}

fn name(path: &[&str], key: &str) -> String {
    path.iter().chain([&key]).copied().collect::<Vec<_>>().join(".")
}

/// A key as it is written.
fn bare(key: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !key.is_empty() && key.chars().all(is_plain) { key.to_owned() } else { quoted(key) }
}

fn splice(text: &str, range: Range<usize>, with: &str) -> Option<String> {
    Some([text.get(..range.start)?, with, text.get(range.end..)?].concat())
}

fn line_start(text: &str, at: usize) -> usize {
    text[..at].rfind('\n').map_or(0, |end| end + 1)
}

/// Behind the end of the line.
fn line_end(text: &str, at: usize) -> usize {
    text[at..].find('\n').map_or(text.len(), |end| at + end + 1)
}

fn line_break(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// The end of a last line that has none.
fn missing_break(text: &str, at: usize) -> String {
    if at == 0 || text[..at].ends_with('\n') { String::new() } else { line_break(text).to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: &[&str] = &["proxy", "notice", "redirect", "archive", "retired"];

    fn date(text: &str, key: &str, value: &str) -> String {
        set(text, &["lifecycle"], key, value, PHASES, false).unwrap()
    }

    #[test]
    fn everything_else_stays() {
        for (text, key, edited) in [
            // The value alone.
            (
                "a = 1\n[lifecycle]\nredirect  =  2019-01-01   # why\n",
                "redirect",
                "a = 1\n[lifecycle]\nredirect  =  2027-03-01   # why\n",
            ),
            // Among its neighbours, in order, and `=` below `=`.
            (
                "[lifecycle] # head\r\n  notice   = 2019-01-01 # n\r\n  archive  = 2029-01-01\r\n# end\r\n[url]\r\n",
                "redirect",
                "[lifecycle] # head\r\n  notice   = 2019-01-01 # n\r\n  redirect = 2027-03-01\r\n  archive  = 2029-01-01\r\n# end\r\n[url]\r\n",
            ),
            ("[lifecycle]\narchive=2029-01-01", "redirect", "[lifecycle]\nredirect=2027-03-01\narchive=2029-01-01"),
            ("[lifecycle]\nnotice=2020-01-01", "redirect", "[lifecycle]\nnotice=2020-01-01\nredirect=2027-03-01\n"),
            // An empty table, a missing one.
            (
                "[lifecycle]\n\n[url]\ncase = \"x\"\n",
                "redirect",
                "[lifecycle]\nredirect = 2027-03-01\n\n[url]\ncase = \"x\"\n",
            ),
            (
                "name = \"a\"\nhosts = [\n  \"b\", # c\n]\n\n# of the rule\n[[rule]]\nfrom = \"/\"\n",
                "redirect",
                "name = \"a\"\nhosts = [\n  \"b\", # c\n]\n\n[lifecycle]\nredirect = 2027-03-01\n\n# of the rule\n[[rule]]\nfrom = \"/\"\n",
            ),
            ("# only this\n", "redirect", "[lifecycle]\nredirect = 2027-03-01\n\n# only this\n"),
            ("a = 1", "redirect", "a = 1\n\n[lifecycle]\nredirect = 2027-03-01\n"),
            // Within braces, and dotted.
            (
                "lifecycle = { notice = 2019-01-01 } # x\n",
                "redirect",
                "lifecycle = { notice = 2019-01-01, redirect = 2027-03-01 } # x\n",
            ),
            (
                "lifecycle = { archive = 2029-01-01 }\n",
                "redirect",
                "lifecycle = { redirect = 2027-03-01, archive = 2029-01-01 }\n",
            ),
            ("lifecycle = {}\n", "redirect", "lifecycle = { redirect = 2027-03-01 }\n"),
            (
                "lifecycle.notice = 2019-01-01\na = 1\n",
                "redirect",
                "lifecycle.notice = 2019-01-01\nlifecycle.redirect = 2027-03-01\na = 1\n",
            ),
        ] {
            assert_eq!(date(text, key, "2027-03-01"), edited, "{text}");
        }
    }

    #[test]
    fn keys_go_with_their_lines() {
        let without = |text: &str| remove(text, &["lifecycle"], "proxy").unwrap();
        assert_eq!(
            without("[lifecycle]\nproxy = 2019-01-01 # x\nnotice = 2020-01-01\n"),
            "[lifecycle]\nnotice = 2020-01-01\n"
        );
        assert_eq!(
            without("lifecycle = { proxy = 2019-01-01, notice = 2020-01-01 }"),
            "lifecycle = { notice = 2020-01-01 }"
        );
        assert_eq!(
            without("lifecycle = { notice = 2020-01-01, proxy = 2019-01-01 }"),
            "lifecycle = { notice = 2020-01-01 }"
        );
        assert_eq!(without("lifecycle.proxy = 2019-01-01\na = 1\n"), "a = 1\n");
        assert_eq!(without("a = 1\n"), "a = 1\n");
    }

    #[test]
    fn tables_within_tables() {
        let text = "a = 1\n\n[census]\nrow = 3\n\n[[test]]\nurl = \"x\"\n";
        let edited = set(text, &["census", "cells"], "备注", &quoted("x\n\"y\""), &[], true).unwrap();
        assert_eq!(
            edited,
            "a = 1\n\n[census]\nrow = 3\n\n[census.cells]\n\"备注\" = \"x\\n\\\"y\\\"\"\n\n[[test]]\nurl = \"x\"\n"
        );
        let edited = set("a = 1\n\n[url]\ncase = \"x\"\n", &["census"], "row", "4", &[], true).unwrap();
        assert_eq!(edited, "a = 1\n\n[url]\ncase = \"x\"\n\n[census]\nrow = 4\n");
    }

    #[test]
    fn lists_grow_at_their_end() {
        let more = |text: &str| push(text, &[], "a", "3").unwrap();
        assert_eq!(more("a = [1, 2] # x\n"), "a = [1, 2, 3] # x\n");
        assert_eq!(more("a = []\n"), "a = [3]\n");
        assert_eq!(more("a = [\n    1, # one\n    2, # two\n]\n"), "a = [\n    1, # one\n    2,\n    3, # two\n]\n");
        assert!(matches!(push("a = 1\n", &[], "a", "3"), Err(EditFault::Unusual(_))));
    }

    #[test]
    fn what_is_odd_is_left_to_people() {
        assert!(matches!(set("a = ", &[], "b", "1", &[], false), Err(EditFault::Syntax(_))));
        assert!(matches!(set("lifecycle = 1\n", &["lifecycle"], "b", "1", &[], false), Err(EditFault::NoTable(_))));
        assert!(matches!(set("[[lifecycle]]\n", &["lifecycle"], "b", "1", &[], false), Err(EditFault::NoTable(_))));
        assert!(matches!(set("a = 1\n", &[], "b", "1\nc = 2", &[], false), Err(EditFault::Unusual(_))));
    }
}
