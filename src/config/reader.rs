//! TOML text → a tree of typed values with positions, checked against the tables of [`super::keys`].

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::diagnostic::{Diagnostic, SourceFile, suggested, suggestion};
use super::keys::{Key, Kind, Scope};
use super::syntax;
use crate::model::RedirectStatus;

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its bytes in the file.
    pub span: Range<usize>,
}

/// A table whose keys and types are right; what was wrong has been reported and left out.
#[derive(Clone, Debug, Default)]
pub struct Table {
    entries: Vec<(&'static str, Range<usize>, At<Value>)>,
    /// Keys that were there, but faulty or (by the name that was meant) misspelt.
    lost: Vec<&'static str>,
    /// The file can't be read, or its syntax is wrong somewhere: anything may have been lost.
    broken: bool,
    /// Something in it, however deep, is faulty and left out.
    faulty: bool,
    /// The header or braces of the table.
    pub span: Range<usize>,
}

#[derive(Clone, Debug)]
enum Value {
    Text(String),
    Bool(bool),
    Number(i64),
    Texts(Vec<At<String>>),
    Status(RedirectStatus),
    Date(i64),
    Table(Table),
    Tables(Vec<Table>),
    Named(Vec<(At<String>, Table)>),
    Free(Vec<(String, String)>),
}

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident: $variant:ident($type:ty);)*) => {
        $($(#[$doc])*
        pub fn $name(&self, key: &str) -> Option<At<&$type>> {
            match self.get(key)? {
                At { value: Value::$variant(value), span } => Some(At { value, span: span.clone() }),
                _ => None,
            }
        })*
    };
}

impl Table {
    getters! {
        /// A text.
        text: Text(String);
        /// True or false.
        bool: Bool(bool);
        /// A whole number; or millionths, of a share.
        number: Number(i64);
        /// A list of texts.
        texts: Texts(Vec<At<String>>);
        /// A redirect status.
        status: Status(RedirectStatus);
        /// A moment, in Unix seconds.
        date: Date(i64);
        /// A table.
        table: Table(Table);
        /// A list of tables.
        tables: Tables(Vec<Table>);
        /// Tables by name.
        named: Named(Vec<(At<String>, Table)>);
        /// Texts by name, in the order of the file.
        free: Free(Vec<(String, String)>);
    }

    fn get(&self, key: &str) -> Option<&At<Value>> {
        self.entries.iter().find(|(name, _, _)| *name == key).map(|(_, _, value)| value)
    }

    /// Where the key itself stands.
    pub fn key_span(&self, key: &str) -> Option<Range<usize>> {
        self.entries.iter().find(|(name, _, _)| *name == key).map(|(_, span, _)| span.clone())
    }

    /// Whether the key was or may have been there, but could not be read, or not as a whole. Its fault has been
    /// reported; whatever follows from it need not be.
    pub fn lost(&self, key: &str) -> bool {
        self.lost.contains(&key) || (self.broken && self.get(key).is_none())
    }

    /// Whether anything in the table of that name, or the table itself, was lost.
    pub fn lost_within(&self, table: &str) -> bool {
        self.broken || self.lost.contains(&table) || self.table(table).is_some_and(|at| !at.value.lost.is_empty())
    }

    /// Whether it says all that was written: nothing in it, however deep, was faulty and left out.
    pub fn is_whole(&self) -> bool {
        !self.broken && !self.faulty
    }

    /// The table of a file that can't be read.
    pub fn unreadable() -> Self {
        Table { broken: true, ..Table::default() }
    }

    /// The keys that are there, in the order of the file.
    pub fn keys(&self) -> impl Iterator<Item = &'static str> {
        self.entries.iter().map(|(name, _, _)| *name)
    }
}

/// Which kind of file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A site file.
    Site,
    /// A `defaults.toml`.
    Defaults,
    /// `gateway.toml`.
    Gateway,
}

/// Reads a file; every fault goes to `out`. `None` never: a file that is all wrong is an empty table.
pub fn read(file: &SourceFile, keys: &'static [Key], role: Role, out: &mut Vec<Diagnostic>) -> Table {
    let (mut document, mut errors) = DeTable::parse_recoverable(&file.text);
    let mended;
    if !errors.is_empty() {
        (mended, errors) = syntax::mend(&file.text);
        document = DeTable::parse_recoverable(&mended).0;
    }
    let mut found: Vec<Diagnostic> = errors
        .iter()
        .map(|error| file.error("syntax", error.span().unwrap_or(0..0), error.message().trim().replace('\n', ", ")))
        .collect();
    let errors: Vec<usize> = errors.iter().filter_map(|error| Some(error.span()?.start)).collect();
    let mut reader = Reader { file, role, errors: &errors, out: &mut found };
    let span = document.span();
    let table = reader.table(document.get_ref(), span, keys, true);
    syntax::drop_echoes(&mut found);
    out.append(&mut found);
    table
}

struct Reader<'a> {
    file: &'a SourceFile,
    role: Role,
    /// Where the syntax is wrong. What seems to be missing may then only have been skipped.
    errors: &'a [usize],
    out: &'a mut Vec<Diagnostic>,
}

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>, span: Range<usize>, keys: &'static [Key], top: bool) -> Table {
        let before = self.out.len();
        let mut entries = Vec::with_capacity(table.len());
        let mut lost = Vec::new();
        for (name, value) in table.iter() {
            let known = keys.iter().find(|key| key.name == name.get_ref().as_ref());
            match known {
                None => lost.extend(self.unknown_key(name, keys, top)),
                Some(key) if !self.in_scope(key) => self.out_of_scope(name.span(), key),
                Some(key) => {
                    let faults = self.out.len();
                    let typed = self.value(value, key);
                    let torn = self.errors.iter().any(|at| (name.span().start..=value.span().end).contains(at));
                    // The tables within keep count of their own.
                    if (torn || self.out.len() > faults) && !matches!(typed, Some(Value::Table(_) | Value::Tables(_))) {
                        lost.push(key.name);
                    }
                    entries.extend(typed.map(|typed| (key.name, name.span(), At { value: typed, span: value.span() })));
                }
            }
        }
        if self.errors.is_empty() {
            // What only sites need to have, defaults need not.
            let is_needed = |key: &&Key| key.required && (self.role != Role::Defaults || key.scope == Scope::Both);
            for key in keys.iter().filter(is_needed) {
                if !lost.contains(&key.name) && !table.keys().any(|name| name.get_ref().as_ref() == key.name) {
                    let what = if top { "this file".to_owned() } else { "this table".to_owned() };
                    let at = if top { 0..0 } else { span.clone() };
                    self.out.push(
                        self.file.error("missing-key", at, format!("{what} has no `{}`", key.name)).hint(key.doc),
                    );
                }
            }
        }
        // The file's order, whatever order the map has.
        entries.sort_by_key(|(_, span, _)| span.start);
        Table { entries, lost, broken: !self.errors.is_empty(), faulty: self.out.len() > before, span }
    }

    fn in_scope(&self, key: &Key) -> bool {
        match self.role {
            Role::Site => !matches!(key.scope, Scope::Defaults | Scope::Gateway),
            Role::Defaults => {
                key.scope != Scope::Gateway && key.scope != Scope::Site
                    || key.required && !matches!(key.name, "name" | "hosts")
            }
            Role::Gateway => true,
        }
    }

    /// Reports an unknown key. Returns the key that was meant, if one is near enough.
    fn unknown_key(
        &mut self,
        name: &Spanned<toml::de::DeString<'_>>,
        keys: &'static [Key],
        top: bool,
    ) -> Option<&'static str> {
        let text = name.get_ref().as_ref();
        let meant = suggested(text, keys.iter().map(|key| key.name));
        let hint = meant.map_or_else(
            || {
                let place = if top { "this file" } else { "this table" };
                let names = keys.iter().filter(|key| self.in_scope(key)).map(|key| format!("`{}`", key.name));
                format!("{place} knows {}", names.collect::<Vec<_>>().join(", "))
            },
            |meant| format!("did you mean `{meant}`?"),
        );
        self.out.push(self.file.error("unknown-key", name.span(), format!("unknown key `{text}`")).hint(hint));
        meant
    }

    fn out_of_scope(&mut self, span: Range<usize>, key: &Key) {
        let (message, hint) = match key.scope {
            Scope::Defaults => (
                "belongs into defaults.toml",
                "move it into the defaults.toml of a folder: a site may not decide it for itself",
            ),
            Scope::Gateway => ("belongs into gateway.toml", "move it there: it holds for the whole node"),
            _ => {
                ("belongs into a site file", "move it into the files of the sites: it makes no sense for more than one")
            }
        };
        self.out.push(self.file.error("misplaced-key", span, format!("`{}` {message}", key.name)).hint(hint));
    }

    fn value(&mut self, value: &Spanned<DeValue<'_>>, key: &'static Key) -> Option<Value> {
        let span = value.span();
        let typed = match (key.kind, value.get_ref()) {
            (Kind::Text, DeValue::String(text)) => Value::Text(text.to_string()),
            (Kind::Word(words), DeValue::String(text)) => {
                if !words.contains(&text.as_ref()) {
                    let hint = suggestion(text, words.iter().copied())
                        .unwrap_or_else(|| format!("one of: {}", words.join(", ")));
                    self.out.push(
                        self.file
                            .error("bad-value", span, format!("`{text}` is no value of `{}`", key.name))
                            .hint(hint),
                    );
                    return None;
                }
                Value::Text(text.to_string())
            }
            (Kind::Bool, DeValue::Boolean(value)) => Value::Bool(*value),
            (Kind::Number(low, high), DeValue::Integer(number)) => {
                match i64::from_str_radix(number.as_str(), number.radix()) {
                    Ok(number) if (low..=high).contains(&number) => Value::Number(number),
                    _ => {
                        let message = format!("`{}` takes a whole number from {low} to {high}", key.name);
                        self.out.push(self.file.error("bad-value", span, message));
                        return None;
                    }
                }
            }
            (Kind::Share, DeValue::Integer(_) | DeValue::Float(_)) => {
                let text = match value.get_ref() {
                    DeValue::Float(number) => number.as_str(),
                    DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
                    _ => "",
                };
                match text.parse::<f64>() {
                    Ok(share) if (0.0..=1.0).contains(&share) => Value::Number((share * 1e6).round() as i64),
                    _ => {
                        let message = format!("`{}` takes a number from 0 to 1", key.name);
                        self.out.push(self.file.error("bad-value", span, message));
                        return None;
                    }
                }
            }
            (Kind::Texts, DeValue::Array(items)) => Value::Texts(
                items
                    .iter()
                    .filter_map(|item| match item.get_ref() {
                        DeValue::String(text) => Some(At { value: text.to_string(), span: item.span() }),
                        _ => {
                            self.wrong_type(item, "texts", key);
                            None
                        }
                    })
                    .collect(),
            ),
            (Kind::Status, DeValue::String(text)) => match parse_status(text) {
                Some(status) => Value::Status(status),
                None => return self.bad_status(span, text),
            },
            (Kind::Status, DeValue::Integer(number)) => match parse_status(number.as_str()) {
                Some(status) => Value::Status(status),
                None => {
                    let written = self.file.text.get(span.clone()).unwrap_or_default();
                    return self.bad_status(span, written);
                }
            },
            (Kind::Date, DeValue::Datetime(date)) => match unix_seconds(date) {
                Some(seconds) => Value::Date(seconds),
                None => {
                    let message = format!("`{date}` is no date");
                    self.out.push(self.file.error("bad-value", span, message).hint(
                        "a date such as 2027-01-31 begins at local midnight; 2027-01-31T08:00:00+08:00 is a moment",
                    ));
                    return None;
                }
            },
            (Kind::Table(keys), DeValue::Table(table)) => Value::Table(self.table(table, span, keys, false)),
            (Kind::Tables(keys), DeValue::Array(items)) => Value::Tables(
                items
                    .iter()
                    .filter_map(|item| match item.get_ref() {
                        DeValue::Table(table) => Some(self.table(table, item.span(), keys, false)),
                        _ => {
                            self.wrong_type(item, "tables", key);
                            None
                        }
                    })
                    .collect(),
            ),
            (Kind::Named(keys), DeValue::Table(table)) => Value::Named(
                table
                    .iter()
                    .filter_map(|(name, value)| match value.get_ref() {
                        DeValue::Table(inner) => {
                            let name = At { value: name.get_ref().to_string(), span: name.span() };
                            Some((name, self.table(inner, value.span(), keys, false)))
                        }
                        _ => {
                            self.wrong_type(value, "tables", key);
                            None
                        }
                    })
                    .collect(),
            ),
            (Kind::Free, DeValue::Table(table)) => {
                let mut texts: Vec<(usize, String, String)> = Vec::with_capacity(table.len());
                for (name, value) in table.iter() {
                    match value.get_ref() {
                        DeValue::String(text) => {
                            texts.push((name.span().start, name.get_ref().to_string(), text.to_string()));
                        }
                        _ => self.wrong_type(value, "texts", key),
                    }
                }
                texts.sort_by_key(|(at, _, _)| *at);
                Value::Free(texts.into_iter().map(|(_, name, text)| (name, text)).collect())
            }
            (kind, _) => {
                self.wrong_type(value, expected(kind), key);
                return None;
            }
        };
        Some(typed)
    }

    fn wrong_type(&mut self, value: &Spanned<DeValue<'_>>, wanted: &str, key: &Key) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let hint = match (key.kind, value.get_ref()) {
            (Kind::Texts, DeValue::String(text)) => Some(format!("write `{} = [\"{text}\"]`", key.name)),
            (Kind::Text | Kind::Word(_) | Kind::Texts, DeValue::Integer(_) | DeValue::Float(_)) => {
                Some("put it into quotes".to_owned())
            }
            (Kind::Date, DeValue::String(_)) => Some("write the date without quotes".to_owned()),
            (Kind::Tables(_), DeValue::Table(_)) => Some(format!("write `[[{}]]`, with two brackets", key.name)),
            (Kind::Table(_), DeValue::Array(_)) => Some(format!("write `[{}]`, with one bracket", key.name)),
            _ => None,
        };
        let message = format!("`{}` takes {wanted}, not {found}", key.name);
        self.out.push(self.file.error("wrong-type", value.span(), message).maybe_hint(hint));
    }

    fn bad_status(&mut self, span: Range<usize>, text: &str) -> Option<Value> {
        self.out.push(self.file.error("bad-status", span, format!("`{text}` is no redirect status")).hint(STATUS_HINT));
        None
    }
}

pub(super) const STATUS_HINT: &str = "permanent, temporary, 301, 302, 303, 307 or 308";

fn expected(kind: Kind) -> &'static str {
    match kind {
        Kind::Text | Kind::Word(_) => "a text",
        Kind::Bool => "true or false",
        Kind::Number(..) => "a whole number",
        Kind::Share => "a number from 0 to 1",
        Kind::Texts => "a list of texts",
        Kind::Status => "a status",
        Kind::Date => "a date",
        Kind::Table(_) | Kind::Named(_) | Kind::Free => "a table",
        Kind::Tables(_) => "a list of tables",
    }
}

/// A status as route files and mapping tables write it.
pub(super) fn parse_status(text: &str) -> Option<RedirectStatus> {
    match text {
        "permanent" => Some(RedirectStatus::Permanent),
        "temporary" => Some(RedirectStatus::Temporary),
        number => RedirectStatus::fixed(number.parse().ok()?),
    }
}

/// A TOML date (local midnight), local date and time, or date and time with offset, as Unix seconds.
fn unix_seconds(date: &toml::value::Datetime) -> Option<i64> {
    use jiff::{Timestamp, civil, tz::TimeZone};
    let text = date.to_string();
    if date.offset.is_some() {
        return text.parse::<Timestamp>().ok().map(Timestamp::as_second);
    }
    let local = match (&date.date, &date.time) {
        (Some(_), None) => text.parse::<civil::Date>().ok()?.at(0, 0, 0, 0),
        (Some(_), Some(_)) => text.parse::<civil::DateTime>().ok()?,
        _ => return None,
    };
    TimeZone::system().to_timestamp(local).ok().map(Timestamp::as_second)
}

/// A date or moment given on a command line, in the forms that files use.
///
/// # Errors
/// When the text is neither.
pub fn parse_date(text: &str) -> Result<i64, String> {
    text.parse::<toml::value::Datetime>()
        .ok()
        .and_then(|date| unix_seconds(&date))
        .ok_or_else(|| format!("`{text}` is neither a date (2027-01-31) nor a moment (2027-01-31T08:00:00+08:00)"))
}
