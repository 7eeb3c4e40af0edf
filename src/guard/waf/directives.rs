//! The text of rule files: what each directive says, as far as the gateway must know it.
//!
//! The engine reads the same text by itself. What is read here is for naming what fails, for telling hits apart, and for
//! the prefilter; whatever is not understood is kept as it is.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

/// What a rule's match weighs, as the rule set scores it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing: the rule prepares or notes something.
    #[default]
    None,
    /// 2.
    Notice,
    /// 3.
    Warning,
    /// 4.
    Error,
    /// 5.
    Critical,
}

impl Severity {
    /// What it adds to a request's score.
    pub fn score(self) -> u32 {
        match self {
            Severity::None => 0,
            Severity::Notice => 2,
            Severity::Warning => 3,
            Severity::Error => 4,
            Severity::Critical => 5,
        }
    }

    fn named(name: &str) -> Self {
        match name.to_ascii_uppercase().as_str() {
            "NOTICE" | "5" => Severity::Notice,
            "WARNING" | "4" => Severity::Warning,
            "ERROR" | "3" => Severity::Error,
            "CRITICAL" | "2" | "ALERT" | "1" | "EMERGENCY" | "0" => Severity::Critical,
            _ => Severity::None,
        }
    }
}

/// A directive, or a chain of rules, which only work together.
#[derive(Clone, Debug)]
pub struct Unit {
    pub file: Arc<Path>,
    /// Where it begins, from 1.
    pub line: usize,
    /// `SecRule`.
    pub name: String,
    pub text: String,
    /// The links, if it is a rule: one, or as many as are chained.
    pub links: Vec<Link>,
    /// What it does, of all its links.
    pub actions: Vec<String>,
    pub id: Option<u32>,
    pub severity: Severity,
    pub paranoia: u8,
    pub message: Arc<str>,
    pub tags: Arc<[String]>,
    pub denies: bool,
}

/// One `SecRule`: an operator over variables.
#[derive(Clone, Debug)]
pub struct Link {
    /// `ARGS`, `&REQUEST_HEADERS:Host`, `!REQUEST_COOKIES:/__utm/`.
    pub variables: Vec<String>,
    pub negated: bool,
    /// `rx`, `pmFromFile`, in lower case.
    pub operator: String,
    pub argument: String,
    /// `urlDecodeUni`, in lower case.
    pub transformations: Vec<String>,
}

/// All of a folder.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    pub units: Vec<Unit>,
}

impl RuleSet {
    /// Rules among the directives.
    pub fn count(&self) -> usize {
        self.units.iter().filter(|unit| unit.name == "SecRule").count()
    }
}

/// The directives of a file, chains as one.
pub fn parse(file: &Path, text: &str) -> Vec<Unit> {
    let file: Arc<Path> = file.into();
    let mut units: Vec<Unit> = Vec::new();
    let mut chained = false;
    for (line, directive) in logical_lines(text) {
        let words = words(&directive);
        let Some(name) = words.first() else { continue };
        let actions = match name.as_str() {
            "SecRule" => words.get(3),
            "SecAction" | "SecDefaultAction" => words.get(1),
            _ => None,
        };
        let actions = actions.map(|actions| split_actions(actions)).unwrap_or_default();
        let link = (name == "SecRule" && words.len() >= 3).then(|| link(&words[1], &words[2], &actions));
        let is_start = actions.iter().any(|action| action == "chain");
        match units.last_mut() {
            Some(unit) if chained => {
                unit.text.push('\n');
                unit.text.push_str(&directive);
                unit.links.extend(link);
                unit.actions.extend(actions);
            }
            _ => units.push(unit(&file, line, name, directive.clone(), link, actions)),
        }
        chained = is_start;
    }
    units
}

fn unit(file: &Arc<Path>, line: usize, name: &str, text: String, link: Option<Link>, actions: Vec<String>) -> Unit {
    let value = |wanted: &str| {
        let found = actions.iter().filter_map(|action| action.split_once(':')).find(|(name, _)| *name == wanted);
        found.map(|(_, value)| value.trim_matches('\'').to_owned())
    };
    let tags: Vec<String> = actions
        .iter()
        .filter_map(|action| action.strip_prefix("tag:").map(|tag| tag.trim_matches('\'').to_owned()))
        .collect();
    let paranoia = tags.iter().find_map(|tag| tag.strip_prefix("paranoia-level/")?.parse().ok()).unwrap_or(1);
    Unit {
        file: file.clone(),
        line,
        name: name.to_owned(),
        text,
        links: link.into_iter().collect(),
        id: value("id").and_then(|id| id.parse().ok()),
        severity: value("severity").map_or(Severity::None, |name| Severity::named(&name)),
        paranoia,
        message: value("msg").unwrap_or_default().into(),
        tags: tags.into(),
        denies: actions
            .iter()
            .any(|action| matches!(action.as_str(), "deny" | "drop") || action.starts_with("redirect:")),
        actions,
    }
}

fn link(variables: &str, operator: &str, actions: &[String]) -> Link {
    let (negated, operator) = match operator.strip_prefix('!') {
        Some(rest) if rest.starts_with('@') => (true, rest),
        _ => (false, operator),
    };
    let (name, argument) = match operator.strip_prefix('@') {
        Some(rest) => rest.split_once(' ').unwrap_or((rest, "")),
        None => ("rx", operator),
    };
    let transformations = actions.iter().filter_map(|action| action.strip_prefix("t:")).map(str::to_ascii_lowercase);
    Link {
        variables: split_variables(variables),
        negated,
        operator: name.to_ascii_lowercase(),
        argument: argument.trim().to_owned(),
        transformations: transformations.filter(|name| name != "none").collect(),
    }
}

/// Variables are divided by `|`, which may stand in a `/regex/` or in quotes too.
fn split_variables(text: &str) -> Vec<String> {
    let (mut out, mut word, mut in_regex) = (Vec::new(), String::new(), false);
    let mut before = ' ';
    for c in text.chars() {
        match c {
            '|' if !in_regex => out.push(std::mem::take(&mut word)),
            _ => {
                if c == '/' && (in_regex && before != '\\' || before == ':') {
                    in_regex = !in_regex;
                }
                word.push(c);
            }
        }
        before = c;
    }
    out.push(word);
    out
}

/// Actions are divided by commas outside of single quotes.
fn split_actions(text: &str) -> Vec<String> {
    let (mut out, mut word, mut quoted, mut before) = (Vec::new(), String::new(), false, ' ');
    for c in text.chars() {
        if c == '\'' && before != '\\' {
            quoted = !quoted;
        }
        if c == ',' && !quoted {
            out.push(std::mem::take(&mut word).trim().to_owned());
        } else {
            word.push(c);
        }
        before = c;
    }
    out.push(word.trim().to_owned());
    out
}

/// The words of a directive: bare, or in double quotes, which lose them and the backslashes before quotes in them.
fn words(directive: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut chars = directive.chars().peekable();
    while let Some(&c) = chars.peek() {
        if c.is_whitespace() {
            chars.next();
            continue;
        }
        let mut word = String::new();
        let quoted = c == '"';
        if quoted {
            chars.next();
        }
        while let Some(c) = chars.next() {
            match c {
                '\\' if quoted && chars.peek() == Some(&'"') => word.extend(chars.next()),
                '\\' => {
                    word.push(c);
                    word.extend(chars.next());
                }
                '"' if quoted => break,
                c if !quoted && c.is_whitespace() => break,
                c => word.push(c),
            }
        }
        out.push(word);
    }
    out
}

/// Lines that end with a backslash go on; empty ones and comments are left out. With the number of the first.
fn logical_lines(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut out = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        if open.is_none() && (line.trim().is_empty() || line.trim_start().starts_with('#')) {
            continue;
        }
        let (text, goes_on) = match line.trim_end().strip_suffix('\\') {
            Some(text) => (text, true),
            None => (line.trim_end(), false),
        };
        let entry = open.get_or_insert_with(|| (number, String::new()));
        entry.1.push_str(text.trim_start());
        if !goes_on {
            out.extend(open.take());
        }
    }
    out.extend(open);
    out.into_iter()
}

/// Paths of files that an operator names (`@pmFromFile`), beside the file that has it if they are relative.
pub fn files(unit: &Unit, link: &Link) -> Vec<PathBuf> {
    let folder = unit.file.parent().unwrap_or(Path::new("."));
    link.argument.split_whitespace().map(|name| folder.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# a comment \
SecRule REQUEST_COOKIES|!REQUEST_COOKIES:/a|b/|&ARGS "!@rx \"x\\|y" \
    "id:'920100',\
    phase:1,t:none,t:lowerCase,\
    msg:'one, two',\
    tag:'paranoia-level/2',\
    severity:'WARNING',\
    chain"
    SecRule ARGS:a "@within a b" "setvar:'tx.x=1,2'"
SecMarker END
SecAction "id:900990,nolog,pass,setvar:tx.y=3"
"#;

    #[test]
    fn chains_are_one_and_what_they_say_is_known() {
        let units = parse(Path::new("a.conf"), TEXT);
        assert_eq!(
            units.iter().map(|unit| (unit.name.as_str(), unit.line)).collect::<Vec<_>>(),
            [("SecRule", 3), ("SecMarker", 11), ("SecAction", 12)]
        );
        let rule = &units[0];
        assert_eq!(
            (rule.id, rule.severity, rule.paranoia, &*rule.message),
            (Some(920100), Severity::Warning, 2, "one, two")
        );
        assert_eq!(rule.links.len(), 2);
        let first = &rule.links[0];
        assert_eq!(first.variables, ["REQUEST_COOKIES", "!REQUEST_COOKIES:/a|b/", "&ARGS"]);
        assert_eq!((first.negated, first.operator.as_str(), first.argument.as_str()), (true, "rx", r#""x\\|y"#));
        assert_eq!(first.transformations, ["lowercase"]);
        assert!(rule.actions.contains(&"setvar:'tx.x=1,2'".to_owned()));
        assert_eq!(units[2].id, Some(900990));
    }

    #[test]
    fn nothing_makes_it_panic() {
        for text in [
            "SecRule",
            "SecRule \"",
            "SecRule A \"@",
            "\\",
            "SecRule A B \"chain",
            "SecAction \"id:,'",
            "SecRule A \"!\" \"id:x\"",
        ] {
            parse(Path::new("a.conf"), text);
        }
    }
}
