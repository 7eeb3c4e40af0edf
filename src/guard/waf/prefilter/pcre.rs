//! Patterns of rules, which are written for PCRE, as patterns that are searched here: they match at least as much.

use regex_syntax::{
    ParserBuilder,
    hir::{Class, Hir, HirKind},
};

/// A pattern without what only backtracking can do: what looks around is dropped and a back reference matches anything,
/// both of which only let more match.
///
/// # Errors
/// If it can't be understood.
pub fn widen(pattern: &str) -> Result<String, String> {
    let mut out = String::with_capacity(pattern.len());
    let bytes: Vec<char> = pattern.chars().collect();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            '\\' => at = escape(&bytes, at, &mut out, false)?,
            '[' => at = class(&bytes, at, &mut out)?,
            '(' if starts(&bytes, at, "(?=")
                || starts(&bytes, at, "(?!")
                || starts(&bytes, at, "(?<=")
                || starts(&bytes, at, "(?<!") =>
            {
                at = close(&bytes, at)? + 1;
                // What it repeats is nothing too.
                out.push_str("(?:)");
            }
            '(' if starts(&bytes, at, "(?>") => {
                out.push_str("(?:");
                at += 3;
            }
            '{' if !is_quantifier(&bytes, at) => {
                out.push_str("\\{");
                at += 1;
            }
            '+' if at > 0 && is_repetition(&bytes, at - 1) => at += 1,
            c if !c.is_ascii() => {
                literal(c, &mut out, false);
                at += 1;
            }
            c => {
                out.push(c);
                at += 1;
            }
        }
    }
    Ok(out)
}

fn starts(chars: &[char], at: usize, text: &str) -> bool {
    text.chars().zip(chars.get(at..).unwrap_or_default()).filter(|(wanted, c)| wanted == *c).count() == text.len()
}

/// `*`, `+`, `?` or `}` before a plus make it possessive.
fn is_repetition(chars: &[char], at: usize) -> bool {
    let escaped = chars[..at].iter().rev().take_while(|c| **c == '\\').count() % 2 == 1;
    !escaped
        && match chars[at] {
            '*' | '+' => true,
            '?' => at > 0 && chars[at - 1] != '(',
            '}' => chars[..at].iter().rposition(|c| *c == '{').is_some_and(|open| is_quantifier(chars, open)),
            _ => false,
        }
}

fn is_quantifier(chars: &[char], at: usize) -> bool {
    let rest: String = chars[at + 1..].iter().take_while(|c| **c != '}').collect();
    let mut numbers = rest.split(',');
    chars.get(at + 1 + rest.chars().count()) == Some(&'}')
        && numbers.next().is_some_and(|number| !number.is_empty() && number.chars().all(|c| c.is_ascii_digit()))
        && numbers.next().is_none_or(|number| number.chars().all(|c| c.is_ascii_digit()))
        && numbers.next().is_none()
}

/// Where the group ends that begins at `at`.
fn close(chars: &[char], at: usize) -> Result<usize, String> {
    let (mut depth, mut in_class, mut i) = (0, false, at);
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 1,
            '[' if !in_class => {
                in_class = true;
                // A bracket that comes first is a sign of the class.
                i += usize::from(chars.get(i + 1) == Some(&'^'));
                i += usize::from(chars.get(i + 1) == Some(&']'));
            }
            ']' => in_class = false,
            '(' if !in_class => depth += 1,
            ')' if !in_class => {
                depth -= 1;
                if depth == 0 {
                    return Ok(i);
                }
            }
            _ => {}
        }
        i += 1;
    }
    Err("a group is not closed".into())
}

fn escape(chars: &[char], at: usize, out: &mut String, in_class: bool) -> Result<usize, String> {
    let Some(&c) = chars.get(at + 1) else { return Err("it ends with a backslash".into()) };
    match c {
        '1'..='9' if !in_class => out.push_str("(?s:.*)"),
        '0' => out.push_str("\\x00"),
        'e' => out.push_str("\\x1b"),
        'h' => out.push_str(if in_class { "\\x20\\x09" } else { "[\\x20\\x09]" }),
        'Z' => out.push('$'),
        // A space, in a class.
        'b' if in_class => out.push_str("\\x08"),
        'K' | 'Q' | 'E' | 'R' | 'X' | 'G' | 'g' | 'k' | 'c' | 'p' | 'P' | 'N' | 'C' => {
            return Err(format!("`\\{c}` is not understood"));
        }
        c if c.is_ascii_alphanumeric() && !"AaBbDdfnrSstvWwxz".contains(c) => {
            return Err(format!("`\\{c}` is not understood"));
        }
        c if c.is_ascii_alphabetic() => {
            out.push('\\');
            out.push(c);
        }
        // Some signs mean something here once they are escaped.
        c => literal(c, out, in_class),
    }
    Ok(at + 2)
}

fn class(chars: &[char], at: usize, out: &mut String) -> Result<usize, String> {
    out.push('[');
    let mut i = at + 1;
    if chars.get(i) == Some(&'^') {
        out.push('^');
        i += 1;
    }
    let first = i;
    while let Some(&c) = chars.get(i) {
        match c {
            ']' if i > first => {
                out.push(']');
                return Ok(i + 1);
            }
            '[' if chars.get(i + 1) == Some(&':') => {
                let end = chars[i..].iter().position(|c| *c == ']').ok_or("a class is not closed")?;
                out.extend(&chars[i..=i + end]);
                i += end + 1;
            }
            '\\' => i = escape(chars, i, out, true)?,
            ']' | '[' | '&' | '~' => {
                out.push('\\');
                out.push(c);
                i += 1;
            }
            '-' if chars.get(i + 1) == Some(&'-') || out.ends_with('-') || out.ends_with('[') => {
                out.push_str("\\-");
                i += 1;
            }
            c if !c.is_ascii() => {
                literal(c, out, true);
                i += 1;
            }
            c => {
                out.push(c);
                i += 1;
            }
        }
    }
    Err("a class is not closed".into())
}

fn literal(c: char, out: &mut String, in_class: bool) {
    let text: String = c.encode_utf8(&mut [0; 4]).bytes().map(|byte| format!("\\x{byte:02x}")).collect();
    match in_class {
        true => out.push_str(&text),
        false => out.push_str(&format!("(?:{text})")),
    }
}

/// Whether a pattern may match in a text of which every byte is `plain`, in upper or lower case.
///
/// # Errors
/// If it can't be understood.
pub fn may_match(pattern: &str, plain: &dyn Fn(u8) -> bool) -> Result<bool, String> {
    let parser = ParserBuilder::new().unicode(false).utf8(false).case_insensitive(true).nest_limit(1000).build();
    let hir =
        { parser }.parse(pattern).map_err(|error| error.to_string().lines().last().unwrap_or_default().to_owned())?;
    Ok(may(&hir, plain))
}

fn may(hir: &Hir, plain: &dyn Fn(u8) -> bool) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => true,
        HirKind::Literal(literal) => literal.0.iter().all(|&byte| plain(byte)),
        HirKind::Class(Class::Bytes(class)) => {
            class.ranges().iter().any(|range| (range.start()..=range.end()).any(plain))
        }
        HirKind::Class(Class::Unicode(_)) => true,
        HirKind::Repetition(repetition) => repetition.min == 0 || may(&repetition.sub, plain),
        HirKind::Capture(capture) => may(&capture.sub, plain),
        HirKind::Concat(parts) => parts.iter().all(|part| may(part, plain)),
        HirKind::Alternation(parts) => parts.iter().any(|part| may(part, plain)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(byte: u8) -> bool {
        byte.is_ascii_alphanumeric() || b"_.-/".contains(&byte)
    }

    #[test]
    fn what_plain_text_can_match() {
        let cases = [
            ("(?i:union.*?select)", true),
            (r"[\s'\x22]or[\s'\x22]", false),
            (r"(?<![a-z])sleep\(", false),
            (r"(?!x)abc++", true),
            (r"a{b", false),
            (r"a{2}b", true),
            (r"[[\x5c\]{}]x", false),
            (r"[^a]", true),
            (r"(?>a|b)\1", true),
            (r"a|<script", true),
            (r"(?:<|%3c)script", false),
            ("[´’]", false),
            (r"\.\.", true),
            (r"[&~|]", false),
        ];
        for (pattern, expected) in cases {
            let widened = widen(pattern).unwrap();
            assert_eq!(may_match(&widened, &plain), Ok(expected), "{pattern} as {widened}");
        }
    }

    #[test]
    fn what_is_not_understood_is_said() {
        assert!(widen(r"\Qa\E").is_err());
        assert!(widen(r"[a").is_err());
        assert!(may_match("(a", &plain).is_err());
    }
}
