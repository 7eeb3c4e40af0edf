//! Why something did not work with the authority, sorted by what is to be done about it.

use std::io;

use super::ledger::Failure;

/// Why a step came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The authority says no, in so many words.
    #[error("{0}")]
    Refused(Refusal),
    /// It could not be asked, or gave no answer: whether it heard the request is not known.
    #[error("the authority can't be reached: {0}")]
    Unreachable(String),
    /// What it answered makes no sense.
    #[error("the authority's answer makes no sense: {0}")]
    Senseless(String),
    /// Something has to change in gateway.toml first.
    #[error("{0}")]
    Settings(String),
    /// Another process of the fleet is ordering.
    #[error("{0}")]
    Busy(String),
    /// This machine's fault: a file, a program.
    #[error("{0}")]
    Local(String),
}

/// A problem document (RFC 7807) with what HTTP says beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The kind of problem without `urn:ietf:params:acme:error:`, such as `rateLimited`; empty where there is none.
    pub kind: String,
    /// The authority's words.
    pub words: String,
    /// Before this time (Unix seconds) the authority does not want to hear of it again, if it says so.
    pub until: Option<i64>,
    /// What it says of single names.
    pub names: Vec<Failure>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.words.as_str(), self.kind.as_str()) {
            ("", "") => write!(f, "the authority answered {}", self.status),
            ("", kind) => write!(f, "the authority refused: {kind}"),
            (words, "") => write!(f, "the authority answered {}: {words}", self.status),
            (words, kind) => write!(f, "the authority refused: {words} ({kind})"),
        }
    }
}

impl Fault {
    /// What is wrong with a file.
    pub(super) fn file(path: &std::path::Path, error: &io::Error) -> Self {
        Fault::Local(format!("{}: {error}", path.display()))
    }

    /// The refusal, if it is one of this kind.
    pub(super) fn refused(&self, kind: &str) -> Option<&Refusal> {
        match self {
            Fault::Refused(refusal) if refusal.kind == kind => Some(refusal),
            _ => None,
        }
    }

    /// When the authority wants to hear of it again at the earliest, if it has had enough for now (RFC 8555, 6.6).
    pub fn limited(&self, now: i64) -> Option<(i64, String)> {
        match self {
            Fault::Refused(refusal)
                if refusal.kind == "rateLimited" || matches!(refusal.status, 429) || refusal.until.is_some() =>
            {
                let until = refusal.until.unwrap_or(now + UNTOLD).clamp(now + 1, now + LONGEST);
                Some((until, refusal.to_string()))
            }
            _ => None,
        }
    }
}

/// How long an authority is left alone that has had enough and does not say for how long, in seconds.
const UNTOLD: i64 = 3600;

/// Longest time that it is left alone, whatever it says: a week, as its longest limits have it.
const LONGEST: i64 = 7 * 86_400;

impl From<instant_acme::Error> for Fault {
    fn from(error: instant_acme::Error) -> Self {
        match error {
            // What the transport found.
            instant_acme::Error::Other(error) => match error.downcast::<Fault>() {
                Ok(fault) => *fault,
                Err(error) => Fault::Senseless(error.to_string()),
            },
            instant_acme::Error::Api(problem) => Fault::Refused(Refusal::of(400, &problem, None)),
            error => Fault::Senseless(error.to_string()),
        }
    }
}

impl Refusal {
    /// What a problem document says; `until` is what HTTP says.
    pub(super) fn of(status: u16, problem: &instant_acme::Problem, until: Option<i64>) -> Self {
        let words = |text: &Option<String>| plain(text.as_deref().unwrap_or_default());
        let names = problem.subproblems.iter().filter_map(|sub| {
            let name = sub.identifier.as_ref()?.authorized(false).to_string();
            let (kind, detail) = (short(sub.r#type.as_deref()), words(&sub.detail));
            Some(Failure { name, why: if detail.is_empty() { kind } else { format!("{detail} ({kind})") } })
        });
        Refusal {
            status: problem.status.unwrap_or(status),
            kind: short(problem.r#type.as_deref()),
            words: words(&problem.detail),
            until,
            names: names.collect(),
        }
    }

    /// An answer that is no problem document.
    pub(super) fn bare(status: u16, until: Option<i64>) -> Self {
        Refusal { status, kind: String::new(), words: String::new(), until, names: Vec::new() }
    }
}

fn short(kind: Option<&str>) -> String {
    plain(kind.unwrap_or_default().trim_start_matches("urn:ietf:params:acme:error:"))
}

/// The words of a stranger, for a log and a terminal: one line, nothing that steers, not too long.
pub(super) fn plain(text: &str) -> String {
    let mut plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS).collect();
    if text.chars().nth(MAX_WORDS).is_some() {
        plain.push('…');
    }
    plain.trim().to_owned()
}

/// Characters of a stranger's words that are kept.
const MAX_WORDS: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(json: &str) -> instant_acme::Problem {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_refusal_says_what_the_authority_says() {
        let refusal = Refusal::of(
            403,
            &problem(
                r#"{"type":"urn:ietf:params:acme:error:rejectedIdentifier","detail":"not\nthese","subproblems":[
                {"type":"urn:ietf:params:acme:error:caa","detail":"forbidden","identifier":{"type":"dns","value":"a.example"}}]}"#,
            ),
            None,
        );
        assert_eq!(refusal.to_string(), "the authority refused: not these (rejectedIdentifier)");
        assert_eq!(refusal.names, [Failure { name: "a.example".into(), why: "forbidden (caa)".into() }]);
        assert_eq!(Refusal::bare(502, None).to_string(), "the authority answered 502");
        assert_eq!(plain(&"x".repeat(501)).chars().count(), 501);
    }

    #[test]
    fn an_authority_that_has_had_enough_is_left_alone_within_reason() {
        let limited = |kind: &str, status, until| {
            let kind = kind.to_owned();
            Fault::Refused(Refusal { kind, until, ..Refusal::bare(status, None) }).limited(1000).map(|(until, _)| until)
        };
        assert_eq!(limited("rateLimited", 429, Some(1060)), Some(1060));
        assert_eq!(limited("rateLimited", 400, None), Some(1000 + 3600));
        assert_eq!(limited("", 503, Some(5)), Some(1001));
        assert_eq!(limited("", 503, Some(i64::MAX)), Some(1000 + 7 * 86_400));
        assert_eq!(limited("malformed", 400, None), None);
    }
}
