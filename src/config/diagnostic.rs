//! What is wrong with a file, where, and what to do about it.

use std::{
    fmt,
    ops::Range,
    sync::{Arc, OnceLock},
};

use serde::Serialize;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Works, but not as its author can have meant it. Goes live.
    Warning,
    /// Wrong. Keeps the site's last good state live.
    Error,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The kind of finding: a fixed word, for programs.
    pub code: &'static str,
    /// The file, relative to the routes folder (or as given, for gateway.toml).
    pub file: Arc<str>,
    /// Line, counted from 1.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// How many characters are meant, at least 1.
    pub length: u32,
    /// The line itself.
    pub source: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Diagnostic {
    /// The same finding with advice.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same finding, with advice only if there is some.
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// The same finding as a warning.
    pub fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }
}

impl fmt::Display for Diagnostic {
    /// The finding over several lines: what, where, the source line underlined, and the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{severity}[{}]: {}", self.code, printable(&self.message))?;
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(f, "{gutter}--> {}:{}:{}", self.file, self.line, self.column)?;
        let (source, column) = excerpt(&self.source, self.column as usize - 1);
        let before: String = source.chars().take(column).collect();
        let marked: String = source.chars().skip(column).take(self.length as usize).collect();
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{number} | {source}")?;
        let mark = "^".repeat(marked.width().max(1));
        writeln!(f, "{gutter} | {}{mark}", " ".repeat(before.width()))?;
        match &self.hint {
            Some(hint) => writeln!(f, "{gutter} = help: {}", printable(hint)),
            None => Ok(()),
        }
    }
}

/// Longest source line that is shown whole.
const MAX_SOURCE: usize = 160;

/// A text without tabs and controls, which a terminal would obey.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.width().is_none() { ' ' } else { c }).collect()
}

/// The part of a source line around `column` (in characters), without tabs or controls, and the column within it.
fn excerpt(source: &str, column: usize) -> (String, usize) {
    let source = printable(source);
    let count = source.chars().count();
    if count <= MAX_SOURCE {
        return (source, column);
    }
    let start = column.saturating_sub(MAX_SOURCE / 4);
    let middle = source.chars().skip(start).take(MAX_SOURCE);
    let cut_front = start > 0;
    let shown: String = if cut_front { "…".chars().chain(middle).collect() } else { middle.collect() };
    (shown + if start + MAX_SOURCE < count { "…" } else { "" }, column - start + usize::from(cut_front))
}

/// A text file and its name, for turning byte offsets into positions.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// The name that diagnostics and provenance use.
    pub name: Arc<str>,
    /// The text.
    pub text: String,
    /// Where each line ends; found when the first position is asked for, which for a good table is never.
    line_ends: OnceLock<Vec<usize>>,
}

impl SourceFile {
    /// A file of that name and text.
    pub fn new(name: impl Into<Arc<str>>, text: impl Into<String>) -> Self {
        SourceFile { name: name.into(), text: text.into(), line_ends: OnceLock::new() }
    }

    /// The line of a byte offset, counted from 1.
    pub fn line(&self, offset: usize) -> u32 {
        let ends = self.line_ends.get_or_init(|| self.text.match_indices('\n').map(|(at, _)| at).collect());
        ends.partition_point(|&end| end < offset) as u32 + 1
    }

    /// An error at a range of bytes; a range over several lines is cut at the end of its first line.
    pub fn error(&self, code: &'static str, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        let text = &self.text;
        let floor = |mut at: usize| {
            at = at.min(text.len());
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (start, end) = (floor(span.start), floor(span.end));
        let line_start = text[..start].rfind('\n').map_or(0, |n| n + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |n| start + n);
        let marked = &text[start..end.clamp(start, line_end)];
        Diagnostic {
            severity: Severity::Error,
            code,
            file: self.name.clone(),
            line: self.line(start),
            column: text[line_start..start].chars().count() as u32 + 1,
            length: (marked.chars().count() as u32).max(1),
            source: text[line_start..line_end].trim_end_matches('\r').to_owned(),
            message: message.into(),
            hint: None,
        }
    }
}

/// A canonical host as people write it.
pub fn readable_host(host: &str) -> String {
    match idna::domain_to_unicode(host) {
        (unicode, Ok(())) => unicode,
        _ => host.to_owned(),
    }
}

/// The known word nearest to `word`, if one is near enough to be what was meant.
pub fn suggested<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(word, candidate), candidate))
        // One slip, or two thirds of the word right; a single character says nothing.
        .filter(|&(distance, candidate)| {
            let long = word.chars().count().max(candidate.len());
            distance == 1 && word.chars().count() > 1 || distance * 3 <= long
        })
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// As `suggested`, as advice.
pub fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    suggested(word, known).map(|candidate| format!("did you mean `{candidate}`?"))
}
