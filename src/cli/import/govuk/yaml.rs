//! A site file → its top-level entries, with lines.
//!
//! Owns: YAML syntax. Never does: meaning of keys. Values are the text that stands in the file, whatever type YAML
//! would make of it: a timestamp is no number, and `no` is no boolean until somebody asks for one.

use std::borrow::Cow;

use saphyr::{LoadableYamlNode, MarkedYaml, Scalar, YamlData};

/// Longest site file that is read, in bytes.
const MAX_FILE: usize = 32 * 1024;

/// Most `-` and `?` that a line may begin with. The reader of YAML recurses into what nests, brackets only so far but
/// these without end: with the file's size, this bounds its depth.
const MAX_MARKERS: usize = 4;

/// One key of a site file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    /// Where the key stands, counted from 1.
    pub(super) line: u32,
    pub(super) value: Value,
}

/// What a key says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// Nothing.
    Null,
    /// One text.
    Text(String),
    /// A list, each item with its line.
    List(Vec<(u32, Value)>),
    /// A table, or something with a tag.
    Other,
}

/// Something in a site file that is not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: u32,
    pub(super) what: String,
    pub(super) why: String,
}

/// The entries of the first document, in order, and what beside them is not read.
///
/// # Errors
/// When nothing of the file can be read.
pub(super) fn entries(text: &str) -> Result<(Vec<Entry>, Vec<Fault>), Fault> {
    let markers = |line: &str| line.split_whitespace().take_while(|word| matches!(*word, "-" | "?")).count();
    if text.len() > MAX_FILE || text.lines().any(|line| markers(line) > MAX_MARKERS) {
        return Err(whole_file(1, "too long or too deep for a site file".to_owned()));
    }
    let (text, mut faults) = last_of_each_key(text);
    let documents = MarkedYaml::load_from_str(&text)
        .map_err(|error| whole_file(line(error.marker().line()), format!("not YAML: {}", error.info())))?;
    for document in documents.iter().skip(1).filter(|document| !is_null(document)) {
        let why = "only the first document of a file is read".to_owned();
        faults.push(Fault { line: line(document.span.start.line()), what: "a second document".to_owned(), why });
    }
    match documents.first().map(|document| &document.data) {
        Some(YamlData::Mapping(table)) => {
            let entry = |(key, value): (&MarkedYaml<'_>, &MarkedYaml<'_>)| Entry {
                key: scalar(&text, key).unwrap_or_else(|| "a key that is no text".to_owned()),
                line: line(key.span.start.line()),
                value: read_value(&text, value),
            };
            Ok((table.iter().map(entry).collect(), faults))
        }
        None => Err(whole_file(1, "empty".to_owned())),
        Some(_) if documents.iter().all(is_null) => Err(whole_file(1, "empty".to_owned())),
        Some(_) => Err(whole_file(1, "not a table of keys and values".to_owned())),
    }
}

fn whole_file(line: u32, why: String) -> Fault {
    Fault { line, what: "the whole file".to_owned(), why }
}

/// Renames all but the last of the top-level keys that stand more than once.
///
/// YAML forbids them, and the reader refuses the whole file; the gateway that wrote these files read them with the last
/// one counting, and an overlooked line should not cost a site.
fn last_of_each_key(text: &str) -> (Cow<'_, str>, Vec<Fault>) {
    let mut out = String::with_capacity(text.len());
    let mut faults = Vec::new();
    let lines: Vec<(&str, Option<Key<'_>>)> = first_document(text).map(|line| (line, key_of(line))).collect();
    let top = lines.iter().find_map(|(_, key)| *key).map_or(0, |key| key.indent);
    for (number, (full, key)) in lines.iter().enumerate() {
        let is_repeated =
            |key: &Key<'_>| key.indent == top && lines[number + 1..].iter().any(|(_, later)| *later == Some(*key));
        if let Some(Key { text: key, .. }) = key.filter(is_repeated) {
            let why = "the key stands more than once; the last one counts".to_owned();
            faults.push(Fault { line: line(number + 1), what: key.to_owned(), why });
            out.push_str(&full.replacen(key, &format!("{key}{REPEATED}{number}"), 1));
        } else {
            out.push_str(full);
        }
    }
    if faults.is_empty() {
        return (Cow::Borrowed(text), faults);
    }
    let rest: usize = lines.iter().map(|(line, _)| line.len()).sum();
    out.push_str(&text[rest..]);
    (Cow::Owned(out), faults)
}

/// What marks a key that a later one overrules.
const REPEATED: &str = "~overruled~";

/// Whether the key is one that a later one overrules: it has been reported.
pub(super) fn is_overruled(key: &str) -> bool {
    key.contains(REPEATED)
}

/// The lines of the first document, with their ends.
fn first_document(text: &str) -> impl Iterator<Item = &str> {
    let mut begun = false;
    text.split_inclusive('\n').take_while(move |line| {
        let more = !begun || !(line.starts_with("---") || line.starts_with("..."));
        begun |= key_of(line).is_some();
        more
    })
}

/// A key at the beginning of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Key<'t> {
    indent: usize,
    text: &'t str,
}

fn key_of(line: &str) -> Option<Key<'_>> {
    let start = line.trim_start_matches(' ');
    let indent = line.len() - start.len();
    let (quote, start) = match start.as_bytes().first() {
        Some(b'"') => ("\"", &start[1..]),
        Some(b'\'') => ("'", &start[1..]),
        _ => ("", start),
    };
    let (text, rest) = start.split_at(start.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))?);
    let rest = rest.strip_prefix(quote)?.trim_start_matches(' ').strip_prefix(':')?;
    let separated = rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']);
    (!text.is_empty() && separated).then_some(Key { indent, text })
}

fn read_value(text: &str, node: &MarkedYaml<'_>) -> Value {
    match &node.data {
        YamlData::Sequence(items) => {
            Value::List(items.iter().map(|item| (line(item.span.start.line()), read_item(text, item))).collect())
        }
        _ => read_item(text, node),
    }
}

/// A value that is no list: lists in lists mean nothing here, and stopping at them bounds the recursion.
fn read_item(text: &str, node: &MarkedYaml<'_>) -> Value {
    match scalar(text, node) {
        _ if matches!(node.data, YamlData::Value(Scalar::Null)) => Value::Null,
        Some(text) => Value::Text(text),
        None => Value::Other,
    }
}

/// Whether a document has nothing in it.
fn is_null(node: &MarkedYaml<'_>) -> bool {
    matches!(node.data, YamlData::Value(Scalar::Null) | YamlData::BadValue)
}

/// The text of a scalar as it stands in the file.
fn scalar(text: &str, node: &MarkedYaml<'_>) -> Option<String> {
    match &node.data {
        YamlData::Value(Scalar::String(text)) => Some(text.trim().to_owned()),
        YamlData::Value(_) => {
            let (start, end) = (node.span.start.index(), node.span.end.index());
            let raw: String = text.chars().skip(start).take(end.saturating_sub(start)).collect();
            Some(raw.trim().to_owned())
        }
        _ => None,
    }
}

fn line(line: usize) -> u32 {
    u32::try_from(line.max(1)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn entry(key: &str, line: u32, value: Value) -> Entry {
        Entry { key: key.to_owned(), line, value }
    }

    #[test]
    fn values_are_the_text_of_the_file() {
        let file =
            "---\n\"site\": 'a:b' # c\ntna_timestamp: 020140404084345\nglobal: =410\nx: no\ny: 1e5\nz: ~\nlast:\n";
        let (entries, faults) = entries(file).unwrap();
        assert!(faults.is_empty());
        let want = vec![
            entry("site", 2, text("a:b")),
            entry("tna_timestamp", 3, text("020140404084345")),
            entry("global", 4, text("=410")),
            entry("x", 5, text("no")),
            entry("y", 6, text("1e5")),
            entry("z", 7, Value::Null),
            entry("last", 8, Value::Null),
        ];
        assert_eq!(entries, want);
    }

    #[test]
    fn lists_have_lines() {
        let (entries, _) = entries("é: 1\r\naliases:\r\n# c\r\n- a.b\r\n- 12\r\n- [x]\r\n-\r\nh: {a: b}\r\n").unwrap();
        let items = vec![(4, text("a.b")), (5, text("12")), (6, Value::Other), (7, Value::Null)];
        assert_eq!(entries[1], entry("aliases", 2, Value::List(items)));
        assert_eq!(entries[2], entry("h", 8, Value::Other));
        assert_eq!(entries[0], entry("é", 1, text("1")));
    }

    #[test]
    fn the_last_of_a_repeated_key_counts() {
        let (entries, faults) = entries("  site: a\n  host: b\n  'site': c\n---\nsite: d\n").unwrap();
        let kept: Vec<_> = entries.iter().filter(|entry| !is_overruled(&entry.key)).collect();
        assert_eq!(kept, [&entry("host", 2, text("b")), &entry("site", 3, text("c"))]);
        assert_eq!(faults.iter().map(|fault| fault.line).collect::<Vec<_>>(), [1, 5]);
        let (entries, faults) = super::entries("host: a\nx:\n  host: b\n  y: !!int c\nz: !!int d\n").unwrap();
        assert_eq!((&entries[0], entries.len(), faults.len()), (&entry("host", 1, text("a")), 3, 0));
        assert_eq!(entries[2], entry("z", 5, Value::Other));
    }

    #[test]
    fn what_is_no_table_is_refused() {
        for (file, line) in
            [("", 1), ("---\n", 1), ("# c\n", 1), ("- a\n", 1), ("a", 1), ("a: b\nc: [\n", 3), ("a:\n\t- b: \"\n", 3)]
        {
            assert!(entries(file).is_err_and(|fault| fault.line <= line), "{file:?}");
        }
        let deep: String = (0..120).map(|n| format!("{}- - - -\n", " ".repeat(8 * n))).collect();
        assert!(deep.len() > MAX_FILE && entries(&deep).is_err());
        assert!(entries(&deep[..MAX_FILE]).is_err());
        for part in ["- ", "? ", "[", "{a: ", "a: ", "&a "] {
            assert!(entries(&part.repeat(4000)).is_err(), "{part}");
        }
    }
}
