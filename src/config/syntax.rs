//! TOML with faults in its syntax → text that can be read on.
//!
//! The parser recovers from a faulty value, but at a key without `=` it stops, and after a header without `]` it takes
//! the next header for a part of this one: faults that come later vanish, and others appear that nobody made. Such a
//! line, or such a table as a whole, is blanked here, at the same length, so that the rest keeps its positions.

use std::{collections::HashSet, ops::Range};

use toml::de::{DeTable, Error};

use super::diagnostic::Diagnostic;

/// How many lines or tables are blanked at most: each costs a pass over the file.
const MAX_BLANKED: usize = 50;

/// The text without what the parser can't recover from, and every syntax error.
pub(super) fn mend(text: &str) -> (String, Vec<Error>) {
    let mut mended = text.to_owned();
    let mut blanked = Vec::new();
    loop {
        let (_, mut errors) = DeTable::parse_recoverable(&mended);
        // What comes after the first of these can't be believed.
        let fatal = errors.iter().enumerate().filter_map(|(n, error)| Some((n, fatal(&mended, error)?)));
        match fatal.min_by_key(|(_, range)| range.start) {
            Some((n, range)) if blanked.len() < MAX_BLANKED => {
                blanked.push(errors.swap_remove(n));
                mended = blank(&mended, range);
            }
            _ => {
                errors.extend(blanked);
                return (mended, errors);
            }
        }
    }
}

/// Of the findings on a line whose syntax is wrong, keeps the first syntax error alone: the others follow from it.
pub(super) fn drop_echoes(findings: &mut Vec<Diagnostic>) {
    if !findings.iter().any(|finding| finding.code == "syntax") {
        return;
    }
    findings.sort_by_key(|finding| (finding.code != "syntax", finding.line, finding.column));
    let mut seen = HashSet::new();
    findings.retain(|finding| {
        let line = (finding.file.clone(), finding.line);
        if finding.code == "syntax" { seen.insert(line) } else { !seen.contains(&line) }
    });
}

/// What must be blanked for an error from which the parser doesn't recover: a line, or a header and its table.
fn fatal(text: &str, error: &Error) -> Option<Range<usize>> {
    let at = error.span()?.start.min(text.len());
    let start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let line_end = |from: usize| text[from..].find('\n').map_or(text.len(), |end| from + end);
    let is_header = |start: usize| text[start..].trim_start_matches([' ', '\t']).starts_with('[');
    let mut end = line_end(start);
    if is_header(start) {
        while end < text.len() && !is_header(end + 1) {
            end = line_end(end + 1);
        }
        return Some(start..end);
    }
    error.message().starts_with("key with no value").then_some(start..end)
}

fn blank(text: &str, range: Range<usize>) -> String {
    let blank: String = text[range.clone()].bytes().map(|b| if b == b'\n' { '\n' } else { ' ' }).collect();
    [&text[..range.start], &blank, &text[range.end..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_fault_is_read() {
        for (text, mended) in [
            ("a = 1\nb 2\nc = 3\n", "a = 1\n   \nc = 3\n"),
            ("[a\nb = 1\n[c]\nd = 1\n", "  \n     \n[c]\nd = 1\n"),
            ("[[青\nb = 1", "     \n     "),
            ("a = [\n1,", "a = [\n1,"),
            ("[", " "),
        ] {
            let (got, errors) = mend(text);
            assert_eq!(got, mended);
            assert_eq!(errors.len(), 1, "{text:?}: {errors:?}");
        }
    }

    #[test]
    fn any_text_is_mended_in_the_end() {
        let text = "a\n".repeat(3 * MAX_BLANKED);
        assert_eq!(mend(&text).0.len(), text.len());
    }
}
