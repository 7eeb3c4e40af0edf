//! Small tables of a site: `[lifecycle]` and `[url]`, whose keys merge with those of defaults.toml one by one, and `https`
//! with `hsts`.

use super::reader::At;
use super::site::{Builder, Found, Place, own};
use crate::model::{Https, Lifecycle, Phase};
use crate::url::{Charset, UrlSettings};

impl Builder<'_> {
    pub(super) fn lifecycle(&mut self) -> Lifecycle {
        let mut starts: Vec<(Phase, Found<i64>)> = Vec::new();
        for phase in Phase::ALL {
            let found = self.nearest("lifecycle", |table| table.date(phase.name())).map(|(file, at)| (file, own(at)));
            starts.extend(found.map(|found| (phase, found)));
        }
        for pair in starts.windows(2) {
            let [(before, (before_file, before_at)), (phase, (file, at))] = pair else { continue };
            if before_at.value <= at.value {
                continue;
            }
            let hint = "phases begin in this order: proxy, notice, redirect, archive, retired".to_owned();
            if before_file < file {
                // The nearer file is at fault: the other is right for other sites.
                let other = &self.layers[usize::from(*file)].file;
                let message = format!(
                    "phase `{before}` begins after `{phase}`, which begins at {}:{}",
                    other.name,
                    other.line(at.span.start)
                );
                self.error(*before_file, "bad-lifecycle", before_at.span.clone(), message, Some(hint));
            } else {
                let message = format!("phase `{phase}` begins before the phase it follows");
                self.error(*file, "bad-lifecycle", at.span.clone(), message, Some(hint));
            }
        }
        Lifecycle::new(starts.into_iter().map(|(phase, (_, at))| (at.value, phase)).collect()).unwrap_or_default()
    }

    pub(super) fn url_settings(&mut self) -> UrlSettings {
        self.lost.url = self.layers.iter().any(|layer| layer.table.lost_within("url"));
        let index = self.names("index", "file name", "index.html", &['/', '\\', '?', '#']);
        let keep_query = self.names("keep-query", "name of a query parameter", "id", &['=', '&', '?', '#']);
        let default = UrlSettings::default();
        let word = |key: &str| self.nearest("url", |table| table.text(key)).map(|(_, at)| at.value.as_str());
        let is = |key: &str, yes: &str, default: bool| word(key).map_or(default, |word| word == yes);
        UrlSettings {
            charset: word("charset").and_then(Charset::parse).unwrap_or_default(),
            ignore_case: is("case", "insensitive", default.ignore_case),
            index,
            keep_query,
            semicolon_separates: is("separators", "&;", default.semicolon_separates),
            ignore_trailing_slash: is("trailing-slash", "ignore", default.ignore_trailing_slash),
            merge_slashes: is("slashes", "merge", default.merge_slashes),
            resolve_dots: is("dots", "resolve", default.resolve_dots),
            drop_session_id: is("session-id", "drop", default.drop_session_id),
            decode_path: is("escapes", "decode", default.decode_path),
            refuse_invalid: is("invalid", "refuse", default.refuse_invalid),
            accept_trailing_dot: is("trailing-dot", "accept", default.accept_trailing_dot),
        }
    }

    pub(super) fn https(&self) -> (Https, Place) {
        let word = self.nearest("", |table| table.text("https")).and_then(|(_, at)| Https::parse(at.value));
        (word.unwrap_or_default(), self.table_place("https"))
    }

    /// The value of Strict-Transport-Security (RFC 6797, 6.1), if the site has one.
    pub(super) fn hsts(&mut self, https: Https) -> Option<String> {
        let layers = self.layers;
        let nearest = layers.iter().enumerate().find_map(|(file, layer)| Some((file, layer.table.table("hsts")?)));
        let (file, At { value: table, span }) = nearest?;
        if layers[file].table.lost_within("hsts") {
            // Half of it could bind browsers to more than was meant.
            return None;
        }
        let max_age = table.number("max-age").map_or(YEAR, |at| *at.value);
        let is = |key| table.bool(key).is_some_and(|at| *at.value);
        let (below, preload) = (is("include-subdomains"), is("preload"));
        let open = https == Https::Allow && !self.lost("https");
        let mut warn = |span, message: &str, hint: &str| {
            self.out.push(layers[file].file.error("weak-hsts", span, message).hint(hint).warning());
        };
        if open && max_age > 0 {
            warn(
                span.clone(),
                "plain HTTP still answers, so a first visit stays open to eavesdroppers",
                "add https = \"redirect\", once every host has a certificate",
            );
        }
        if preload && !(below && max_age >= YEAR) {
            warn(
                table.key_span("preload").unwrap_or(span),
                "lists of preloaded hosts take only those with include-subdomains and a max-age of a year or more",
                "preload needs include-subdomains = true and max-age = 31536000 at least (hstspreload.org)",
            );
        }
        Some(format!(
            "max-age={max_age}{}{}",
            if below { "; includeSubDomains" } else { "" },
            if preload { "; preload" } else { "" }
        ))
    }

    /// A list of names in `[url]`; a name without any, or with one of these characters, is reported and left out.
    fn names(&mut self, key: &str, what: &str, example: &str, refused: &[char]) -> Vec<String> {
        let Some((file, list)) =
            self.nearest("url", |table| table.texts(key)).map(|(file, at)| (file, at.value.clone()))
        else {
            return Vec::new();
        };
        let (names, wrong): (Vec<_>, Vec<_>) =
            list.into_iter().partition(|at| !at.value.is_empty() && !at.value.contains(refused));
        for At { value, span } in wrong {
            self.lost.url = true;
            self.error(
                file,
                "bad-value",
                span,
                format!("`{value}` is no {what}"),
                Some(format!("the name alone, such as `{example}`")),
            );
        }
        names.into_iter().map(|at| at.value).collect()
    }
}

/// A year, in seconds: what `max-age` of HSTS is where absent, and the least with which hosts are preloaded.
const YEAR: i64 = 31_536_000;
