//! `[guard]`: whom and what a site admits. It may stand in gateway.toml, `defaults.toml` and site files; the nearest that
//! says something wins, key by key.

use std::ops::Range;

use super::keys::Scope;
use super::keys::{Key, Kind, key, only};
use super::reader::{At, Table};
use super::site::Builder;
use crate::model::Methods;

/// What one or several `[guard]` tables say together; `None` is what none of them says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct GuardSettings {
    /// Methods that are admitted.
    pub methods: Option<Methods>,
}

/// Hears of a fault: the layer, where, which kind, and what to say of it.
pub(super) type Tell<'a> = dyn FnMut(u16, Range<usize>, &'static str, String, Option<String>) + 'a;

impl GuardSettings {
    /// Reads what `layers` say, nearest first.
    pub(super) fn read(layers: &[(u16, &Table)], tell: &mut Tell<'_>) -> Self {
        GuardSettings { methods: methods(layers, tell) }
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
    key(
        "methods",
        Kind::Texts,
        "[\"GET\", \"HEAD\", \"POST\", \"OPTIONS\"]",
        "Methods that are admitted, or `*` for all; others are answered 405.",
    ),
];
