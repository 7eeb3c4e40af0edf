//! JSON Schema (draft 7, which TOML editors read) of the two TOML formats, from the tables of keys.

use serde_json::{Map, Value, json};

use super::condition::SHARED;
use super::keys::{self, Key, Kind};

/// The schema of site files and `defaults.toml`.
///
/// Required keys are not required here: editors apply one schema to both kinds of file, and `waypost check` knows
/// which is which.
pub fn site() -> Value {
    top("Waypost site file", keys::SITE)
}

/// The schema of `gateway.toml`.
pub fn gateway() -> Value {
    top("Waypost gateway.toml", keys::GATEWAY)
}

fn top(title: &str, keys: &[Key]) -> Value {
    let mut schema = table(keys, false);
    schema.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    schema.insert("title".to_owned(), json!(title));
    let shared = SHARED.iter().map(|(name, keys)| ((*name).to_owned(), Value::Object(table(keys, true))));
    schema.insert("definitions".to_owned(), Value::Object(shared.collect()));
    Value::Object(schema)
}

fn table(keys: &[Key], with_required: bool) -> Map<String, Value> {
    let properties: Map<String, Value> = keys.iter().map(|key| (key.name.to_owned(), property(key))).collect();
    let mut schema = Map::new();
    schema.insert("type".to_owned(), json!("object"));
    schema.insert("additionalProperties".to_owned(), json!(false));
    schema.insert("properties".to_owned(), Value::Object(properties));
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    if with_required && !required.is_empty() {
        schema.insert("required".to_owned(), json!(required));
    }
    schema
}

/// A table within another: those that stand in many places are written once.
fn inner(keys: &'static [Key]) -> Map<String, Value> {
    match SHARED.iter().find(|(_, shared)| std::ptr::eq(*shared, keys)) {
        // Beside `$ref` editors of this draft would not see the description.
        Some((name, _)) => as_map(json!({ "allOf": [{ "$ref": format!("#/definitions/{name}") }] })),
        None => table(keys, true),
    }
}

fn property(key: &Key) -> Value {
    let mut schema = match key.kind {
        Kind::Text => as_map(json!({ "type": "string" })),
        Kind::Word(words) => as_map(json!({ "type": "string", "enum": words })),
        Kind::Bool => as_map(json!({ "type": "boolean" })),
        Kind::Number(low, high) => as_map(json!({ "type": "integer", "minimum": low, "maximum": high })),
        Kind::Share => as_map(json!({ "type": "number", "minimum": 0, "maximum": 1 })),
        Kind::Texts => as_map(json!({ "type": "array", "items": { "type": "string" } })),
        Kind::Status => as_map(json!({ "enum": ["permanent", "temporary", 301, 302, 303, 307, 308] })),
        // TOML dates reach JSON Schema validators as strings in some editors and as their own type in others.
        Kind::Date => Map::new(),
        Kind::Table(keys) => inner(keys),
        Kind::Tables(keys) => as_map(json!({ "type": "array", "items": inner(keys) })),
        Kind::Free => as_map(json!({ "type": "object", "additionalProperties": { "type": "string" } })),
        Kind::Named(keys) => as_map(json!({ "type": "object", "additionalProperties": table(keys, true) })),
    };
    schema.insert("description".to_owned(), json!(key.doc));
    if let Ok(default) = toml::from_str::<Value>(&format!("value = {}", key.default)) {
        schema.insert("default".to_owned(), default["value"].clone());
    }
    Value::Object(schema)
}

fn as_map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}
