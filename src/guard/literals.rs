//! Texts of which a regular expression's matches contain one: where none of them is, it need not be tried.

use regex_syntax::{
    Parser,
    hir::{Class, Hir, HirKind},
};

/// What [`fold`] makes of letters that regular expressions take for ASCII ones when they ignore case.
const FOLDED: [(char, char); 2] = [('\u{17f}', 's'), ('\u{212a}', 'k')];

/// Most texts for an expression: with more, it is tried every time.
const MAX_LITERALS: usize = 64;

/// Shortest text that is worth looking for, in bytes.
const MIN_LENGTH: usize = 2;

/// The two letters beyond ASCII that are capitals of ASCII letters in Unicode, made ASCII: then case can be ignored byte
/// by byte wherever a text is ASCII.
pub(super) fn fold(text: &str) -> Option<String> {
    let odd = !text.is_ascii() && FOLDED.iter().any(|&(letter, _)| text.contains(letter));
    odd.then(|| {
        FOLDED
            .iter()
            .fold(text.to_owned(), |text, &(letter, ascii)| text.replace(letter, ascii.encode_utf8(&mut [0; 4])))
    })
}

/// Texts in lower case, of which each text that `regex` matches somewhere, [folded](fold) and with case ignored, contains
/// one. `None` if there are no such.
pub(super) fn required(regex: &str) -> Option<Vec<String>> {
    let hir = Parser::new().parse(regex).ok()?;
    let literals = needs(&hir).literals?;
    literals.iter().all(|literal| literal.len() >= MIN_LENGTH).then_some(literals)
}

/// What is known of the matches of a part of an expression.
#[derive(Default)]
struct Needs {
    /// The only match, but for case.
    exact: Option<String>,
    /// Texts of which each match contains one.
    literals: Option<Vec<String>>,
}

impl Needs {
    fn exactly(text: String) -> Self {
        let literals = (!text.is_empty()).then(|| vec![text.clone()]);
        Needs { exact: Some(text), literals }
    }
}

fn needs(hir: &Hir) -> Needs {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Needs::exactly(String::new()),
        HirKind::Literal(literal) => {
            str::from_utf8(&literal.0).ok().and_then(lower).map(Needs::exactly).unwrap_or_default()
        }
        HirKind::Class(class) => one_letter(class).map(Needs::exactly).unwrap_or_default(),
        HirKind::Capture(capture) => needs(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => {
            let sub = needs(&repetition.sub);
            let once = repetition.min == 1 && repetition.max == Some(1);
            Needs { exact: sub.exact.filter(|_| once), literals: sub.literals }
        }
        HirKind::Repetition(_) => Needs::default(),
        HirKind::Concat(parts) => concatenated(parts),
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                let Some(literals) = needs(part).literals else { return Needs::default() };
                all.extend(literals);
            }
            Needs { exact: None, literals: (all.len() <= MAX_LITERALS).then_some(all) }
        }
    }
}

fn concatenated(parts: &[Hir]) -> Needs {
    let mut best: Option<Vec<String>> = None;
    let mut offer = |literals: Option<Vec<String>>| {
        let worth = |literals: &Vec<String>| literals.iter().map(String::len).min().unwrap_or(0);
        if let Some(literals) = literals
            && best.as_ref().is_none_or(|best| worth(best) < worth(&literals))
        {
            best = Some(literals);
        }
    };
    let mut run = String::new();
    let mut whole = true;
    for part in parts {
        let part = needs(part);
        match part.exact {
            Some(text) => run.push_str(&text),
            None => {
                whole = false;
                offer((!run.is_empty()).then(|| vec![std::mem::take(&mut run)]));
                offer(part.literals);
            }
        }
    }
    if whole {
        return Needs::exactly(run);
    }
    offer((!run.is_empty()).then_some(vec![run]));
    Needs { exact: None, literals: best }
}

/// The letter that a class is all spellings of.
fn one_letter(class: &Class) -> Option<String> {
    let letters: Vec<char> = match class {
        Class::Unicode(class) => {
            let ranges = class.ranges();
            let few = ranges.iter().map(|range| range.end() as u32 - range.start() as u32 + 1).sum::<u32>() <= 4;
            ranges.iter().filter(|_| few).flat_map(|range| range.start()..=range.end()).collect()
        }
        Class::Bytes(_) => return None,
    };
    let mut folded = letters.iter().map(|&letter| {
        let ascii = FOLDED.iter().find(|(odd, _)| *odd == letter).map_or(letter, |&(_, ascii)| ascii);
        ascii.to_ascii_lowercase()
    });
    let first = folded.next().filter(char::is_ascii)?;
    folded.all(|letter| letter == first).then(|| first.to_string())
}

/// A text in lower case; `None` if it has letters beyond ASCII that have a case.
fn lower(text: &str) -> Option<String> {
    let caseless = |c: char| c.is_ascii() || c.to_lowercase().eq([c]) && c.to_uppercase().eq([c]);
    text.chars().all(caseless).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_match_must_contain_is_found() {
        for (regex, literals) in [
            ("sqlmap", Some(vec!["sqlmap"])),
            ("^Sqlmap/[0-9]+", Some(vec!["sqlmap/"])),
            ("(?i)bot", Some(vec!["bot"])),
            ("(?i)sky", Some(vec!["sky"])),
            (".*crawler.*v2", Some(vec!["crawler"])),
            ("(curl|wget|python-requests)/", Some(vec!["curl", "wget", "python-requests"])),
            ("(?:bot){2,}", Some(vec!["bot"])),
            ("(?:bot)?x", None),
            ("[0-9]+", None),
            ("a|", None),
            ("爬虫", Some(vec!["爬虫"])),
            ("É", None),
            ("x", None),
        ] {
            let wanted: Option<Vec<String>> = literals.map(|all| all.into_iter().map(str::to_owned).collect());
            assert_eq!(required(regex), wanted, "{regex}");
        }
    }

    #[test]
    fn odd_letters_are_folded() {
        assert_eq!(fold("plain"), None);
        assert_eq!(fold("爬虫"), None);
        assert_eq!(fold("\u{17f}qlmap \u{212a}it").as_deref(), Some("sqlmap kit"));
    }
}
