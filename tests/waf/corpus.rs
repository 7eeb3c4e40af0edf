//! The rule set's own regression tests, as requests.

use std::{fs, path::Path};

use saphyr::{LoadableYamlNode, Yaml};
use waypost::guard::waf::Request;

/// A test of the rule set.
pub struct Case {
    pub title: String,
    pub request: Request,
    /// The rule that must match.
    pub hits: Option<u32>,
    /// The rule that must not.
    pub spares: Option<u32>,
}

/// Every test below `folder` that is one well-formed request: the others are about bytes that no server lets through.
pub fn load(folder: &Path) -> Vec<Case> {
    let mut files = Vec::new();
    find(folder, &mut files);
    files.sort();
    assert!(!files.is_empty(), "no tests in {}: `tests/waf/get` brings them", folder.display());
    files.iter().flat_map(|file| read(file)).collect()
}

fn find(folder: &Path, out: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            out.push(path);
        }
    }
}

fn read(file: &Path) -> Vec<Case> {
    let Ok(documents) = Yaml::load_from_str(&fs::read_to_string(file).unwrap()) else { return Vec::new() };
    let Some(tests) = documents.first().and_then(|document| document.as_mapping_get("tests")?.as_sequence()) else {
        return Vec::new();
    };
    tests.iter().flat_map(case).collect()
}

fn case(test: &Yaml<'_>) -> Option<Case> {
    let title = text(test.as_mapping_get("test_title")?)?;
    let stage = test.as_mapping_get("stages")?.as_sequence()?.first()?.as_mapping_get("stage")?;
    let (input, output) = (stage.as_mapping_get("input")?, stage.as_mapping_get("output")?);
    if input.as_mapping_get("encoded_request").is_some() || input.as_mapping_get("raw_request").is_some() {
        return None;
    }
    let field = |name: &str| input.as_mapping_get(name).and_then(text);
    let mut fields: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, value) in input.as_mapping_get("headers").and_then(|headers| headers.as_mapping()).into_iter().flatten()
    {
        fields.push((text(name)?, bytes(&text(value).unwrap_or_default())));
    }
    let body = match input.as_mapping_get("data") {
        Some(data) => match data.as_sequence() {
            Some(lines) => lines.iter().filter_map(text).collect::<Vec<_>>().join("\r\n"),
            None => text(data).unwrap_or_default(),
        },
        None => String::new(),
    };
    let raw = input.as_mapping_get("stop_magic").and_then(Yaml::as_bool).unwrap_or(false);
    let has =
        |fields: &[(String, Vec<u8>)], wanted: &str| fields.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    if !body.is_empty() && !raw {
        if !has(&fields, "content-type") {
            fields.push(("Content-Type".into(), b"application/x-www-form-urlencoded".to_vec()));
        }
        if !has(&fields, "content-length") {
            fields.push(("Content-Length".into(), body.len().to_string().into_bytes()));
        }
    }
    let target = bytes(&field("uri").unwrap_or_else(|| "/".into()));
    // What is no request line ends at its first space.
    let target = target.split(|&byte| byte == b' ').next().unwrap_or_default().to_vec();
    let rule = |name: &str| {
        let text = output.as_mapping_get(name).and_then(text)?;
        text.split(|c: char| !c.is_ascii_digit()).find(|digits| digits.len() == 6)?.parse().ok()
    };
    Some(Case {
        title,
        request: Request {
            method: field("method").unwrap_or_else(|| "GET".into()),
            target,
            version: if field("version").is_some_and(|version| version.contains("1.0")) { "1.0" } else { "1.1" },
            fields,
            body: bytes(&body).into(),
            paranoia: 1,
            ..Request::default()
        },
        hits: rule("log_contains"),
        spares: rule("no_log_contains"),
    })
}

fn text(value: &Yaml<'_>) -> Option<String> {
    if let Some(text) = value.as_str() {
        return Some(text.to_owned());
    }
    value
        .as_integer()
        .map(|number| number.to_string())
        .or_else(|| value.as_floating_point().map(|number| number.to_string()))
}

/// The tests write bytes as characters of the same number.
fn bytes(text: &str) -> Vec<u8> {
    match text.chars().all(|c| u32::from(c) < 256) {
        true => text.chars().map(|c| c as u8).collect(),
        false => text.as_bytes().to_vec(),
    }
}
