//! `[guard]`: whom and what a site admits. It may stand in gateway.toml, `defaults.toml` and site files; the nearest that
//! says something wins, key by key.

use std::ops::Range;

use super::diagnostic::suggestion;
use super::keys::Scope;
use super::keys::{Key, Kind, key, only};
use super::probe::ProbePattern;
use super::reader::{At, Table};
use super::site::Builder;
use crate::model::Methods;

/// What one or several `[guard]` tables say together; `None` is what none of them says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GuardSettings {
    /// Methods that are admitted.
    pub methods: Option<Methods>,
    /// What is refused beyond what always is.
    pub strict: Option<Strictness>,
    /// Patterns of probes beside those that are shipped.
    pub extra_probes: Option<Vec<ProbePattern>>,
    /// Shipped patterns that don't count; `*` is all.
    pub allow_probes: Option<Vec<String>>,
    /// Whether platforms may redirect to any host.
    pub any_redirect: Option<bool>,
}

/// What a site refuses of targets beyond what is always refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Strictness {
    /// Backslashes in the path, raw or escaped.
    pub backslash: bool,
    /// Paths that hold escapes when they are decoded.
    pub double_encoding: bool,
    /// Bytes that are not valid UTF-8, overlong forms among them; only where the site's charset is UTF-8.
    pub invalid_utf8: bool,
}

impl Strictness {
    /// The words for it in files.
    pub const NAMES: [&str; 3] = ["backslash", "double-encoding", "invalid-utf-8"];

    /// With one more; none if there is no such word.
    fn with(self, name: &str) -> Option<Self> {
        Some(match name {
            "backslash" => Strictness { backslash: true, ..self },
            "double-encoding" => Strictness { double_encoding: true, ..self },
            "invalid-utf-8" => Strictness { invalid_utf8: true, ..self },
            _ => return None,
        })
    }

    /// The words.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        let is_on = [self.backslash, self.double_encoding, self.invalid_utf8];
        Self::NAMES.into_iter().zip(is_on).filter(|(_, is_on)| *is_on).map(|(name, _)| name)
    }
}

/// Hears of a fault: the layer, where, which kind, and what to say of it.
pub(super) type Tell<'a> = dyn FnMut(u16, Range<usize>, &'static str, String, Option<String>) + 'a;

impl GuardSettings {
    /// Reads what `layers` say, nearest first.
    pub(super) fn read(layers: &[(u16, &Table)], tell: &mut Tell<'_>) -> Self {
        GuardSettings {
            methods: methods(layers, tell),
            strict: strict(layers, tell),
            extra_probes: extra_probes(layers, tell),
            allow_probes: allow_probes(layers, tell),
            any_redirect: layers.iter().find_map(|(_, table)| Some(table.text("platform-redirects")?.value == "any")),
        }
    }
}

fn methods(layers: &[(u16, &Table)], tell: &mut Tell<'_>) -> Option<Methods> {
    let (layer, list) = layers.iter().find_map(|(layer, table)| Some((*layer, table.texts("methods")?)))?;
    let mut methods = Methods::NONE;
    for At { value, span } in list.value {
        match methods.with(value) {
            Some(more) => methods = more,
            None => {
                let hint = format!("one of: {}, or `*` for all", Methods::NAMES.join(", "));
                tell(
                    layer,
                    span.clone(),
                    "bad-value",
                    format!("`{value}` is no method that can be let through"),
                    Some(hint),
                );
            }
        }
    }
    Some(methods)
}

fn strict(layers: &[(u16, &Table)], tell: &mut Tell<'_>) -> Option<Strictness> {
    let (layer, list) = nearest(layers, "strict")?;
    let mut strict = Strictness::default();
    for At { value, span } in list.value {
        match strict.with(value) {
            Some(more) => strict = more,
            None => {
                let hint = suggestion(value, Strictness::NAMES)
                    .unwrap_or_else(|| format!("one of: {}", Strictness::NAMES.join(", ")));
                let message = format!("`{value}` is nothing to be strict about");
                tell(layer, span.clone(), "bad-value", message, Some(hint));
            }
        }
    }
    Some(strict)
}

fn extra_probes(layers: &[(u16, &Table)], tell: &mut Tell<'_>) -> Option<Vec<ProbePattern>> {
    let (layer, list) = nearest(layers, "extra-probes")?;
    let mut patterns = Vec::new();
    for At { value, span } in list.value {
        match ProbePattern::parse(value) {
            Ok(pattern) => patterns.push(pattern),
            Err(fault) => tell(
                layer,
                span.clone(),
                "bad-value",
                format!("`{value}` is no pattern of a probe: {fault}"),
                Some("write names of files and folders: `/old-cms/setup.asp`, `*.bak`".to_owned()),
            ),
        }
    }
    Some(patterns)
}

fn allow_probes(layers: &[(u16, &Table)], tell: &mut Tell<'_>) -> Option<Vec<String>> {
    let (layer, list) = nearest(layers, "allow-probes")?;
    let shipped: Vec<ProbePattern> = ProbePattern::shipped().collect();
    let mut allowed = Vec::new();
    for At { value, span } in list.value {
        if value == "*" || shipped.iter().any(|pattern| pattern.as_str() == value) {
            allowed.push(value.clone());
        } else {
            let hint = suggestion(value, shipped.iter().map(ProbePattern::as_str))
                .unwrap_or_else(|| "`explain` names the pattern that a URL hits; `*` allows all".to_owned());
            tell(layer, span.clone(), "bad-value", format!("no shipped pattern of a probe is `{value}`"), Some(hint));
        }
    }
    Some(allowed)
}

/// The nearest list of that name, and the layer that it stands in.
fn nearest<'t>(layers: &[(u16, &'t Table)], name: &str) -> Option<(u16, At<&'t Vec<At<String>>>)> {
    layers.iter().find_map(|(layer, table)| Some((*layer, table.texts(name)?)))
}

impl Builder<'_> {
    pub(super) fn guard(&mut self) -> GuardSettings {
        let layers = self.layers;
        let tables: Vec<(u16, &Table)> =
            (0..).zip(layers).filter_map(|(number, layer)| Some((number, layer.table.table("guard")?.value))).collect();
        GuardSettings::read(&tables, &mut |layer, span, code, message, hint| {
            self.error(layer, code, span, message, hint);
        })
    }
}

/// `[guard]`.
pub const GUARD: &[Key] = &[
    only(
        Scope::Gateway,
        key(
            "allowed-targets",
            Kind::Texts,
            "[]",
            "The only hosts that redirects may go to: `example.org` or `*.example.org`. Where absent: the hosts of all homes, sites and platforms.",
        ),
    ),
    only(
        Scope::Gateway,
        key(
            "frozen",
            Kind::Texts,
            "[]",
            "Hosts to which nobody is sent or linked any more, whatever route files say, such as one that was taken over: `example.org` or `*.example.org`. A page (503) says so instead.",
        ),
    ),
    only(
        Scope::Gateway,
        key(
            "frozen-file",
            Kind::Text,
            "",
            "A file with more of them, one a line, `#` before a comment, for a monitor to write; read again when it changes.",
        ),
    ),
    key(
        "platform-redirects",
        Kind::Word(&["listed", "any"]),
        "\"listed\"",
        "Where platforms and old origins may send visitors (Location, Refresh and Link of their answers): `listed` is the old host, the platform's own host and those of its domain, and the allowed targets; a redirect to another becomes one to a page that says so. `any` leaves it to them.",
    ),
    key(
        "methods",
        Kind::Texts,
        "[\"GET\", \"HEAD\", \"POST\", \"OPTIONS\"]",
        "Methods that are admitted, or `*` for all; others are answered 405.",
    ),
    key(
        "strict",
        Kind::Texts,
        "[]",
        "What is refused (400) beyond what always is: `backslash` (in the path, raw or escaped), `double-encoding` (a path that has escapes when it is decoded), `invalid-utf-8` (bytes that are no UTF-8, if the site's charset is that). Some old URLs need each of them.",
    ),
    key(
        "extra-probes",
        Kind::Texts,
        "[]",
        "Files and folders that only scanners ask for, beside those that the gateway knows; they are answered 404. A name, or several with `/` between, which begin at the root if a `/` stands before; `*` is any text: `/old-cms/setup.asp`, `*.bak`. What has a mapping is answered all the same.",
    ),
    key(
        "allow-probes",
        Kind::Texts,
        "[]",
        "Patterns of the shipped list that don't count, such as `wp-login.php` where a blog is still proxied; `*` allows all. `explain` names the pattern that a URL hits.",
    ),
];
