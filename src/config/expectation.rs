//! `[[test]]`.

use super::diagnostic::SourceFile;
use super::reader::Table;
use super::site::{Builder, Place};
use crate::model::{Host, split_scheme};

/// A `[[test]]`.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The old URL.
    pub url: String,
    /// Its method.
    pub method: String,
    /// When, in Unix seconds and as it was written; now where absent.
    pub date: Option<(i64, String)>,
    /// What is expected.
    pub expect: Expect,
    /// Where the expectation was written.
    pub place: Place,
}

/// What a test expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// A status, and a location where one is given.
    Status(u16, Option<String>),
    /// Proxying to a platform, under a path where one is given.
    Serve(String, Option<String>),
}

/// The tests of a site file; what is faulty is reported and left out.
pub(super) fn build(out: &mut Builder<'_>, file: &SourceFile, table: &Table) -> Vec<Expectation> {
    let Some(tables) = table.tables("test") else { return Vec::new() };
    let mut tests = Vec::new();
    for table in tables.value {
        let (Some(url), Some(expect)) = (table.text("url"), table.text("expect")) else { continue };
        let host =
            split_scheme(url.value).map(|(_, rest)| rest.split(['/', '?', '#', '\\']).next().unwrap_or_default());
        if host.is_none_or(|host| Host::parse(host.as_bytes()).is_err()) {
            out.error(0, "bad-test", url.span, "a test's url is whole: http://host/path", None);
            continue;
        }
        let method = table.text("method");
        if let Some(at) = &method
            && (at.value.is_empty() || !at.value.bytes().all(|b| b.is_ascii_uppercase() || b == b'-'))
        {
            let upper = at.value.to_ascii_uppercase();
            let hint = if METHODS.contains(&upper.as_str()) {
                format!("did you mean `{upper}`?")
            } else {
                "such as GET, HEAD or POST".to_owned()
            };
            out.error(0, "bad-test", at.span.clone(), format!("`{}` is no method", at.value), Some(hint));
            continue;
        }
        let Some(parsed) = parse_expect(expect.value) else {
            let hint = "`301 https://new.example/page`, `410`, `404`, `200`, `serve PLATFORM /path`".to_owned();
            out.error(0, "bad-test", expect.span, format!("`{}` is no expectation", expect.value), Some(hint));
            continue;
        };
        tests.push(Expectation {
            url: url.value.clone(),
            method: method.map_or_else(|| "GET".to_owned(), |at| at.value.clone()),
            date: table.date("date").map(|at| {
                let written = file.text.get(at.span.clone()).unwrap_or_default().to_owned();
                (*at.value, written)
            }),
            expect: parsed,
            place: out.place(0, expect.span),
        });
    }
    tests
}

fn parse_expect(text: &str) -> Option<Expect> {
    let mut words = text.split_whitespace();
    let first = words.next()?;
    let expect = if first == "serve" {
        Expect::Serve(words.next().unwrap_or_default().to_owned(), words.next().map(str::to_owned))
    } else {
        let status = first.parse().ok().filter(|status| (200..=599).contains(status))?;
        Expect::Status(status, words.next().map(str::to_owned))
    };
    words.next().is_none().then_some(expect)
}

/// Methods whose spelling is corrected.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
