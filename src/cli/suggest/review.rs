//! Suggestions for people (CSV) and programs (JSON).

use serde_json::{Value, json};

use super::super::output::count;
use super::gather::Gathered;
use super::write::Added;
use crate::suggest::accept::quoted;
use crate::suggest::{Choice, Suggestion};

/// Those with the most hits first, those without a suggestion last.
pub(super) fn order(gathered: &Gathered, suggestions: &[Suggestion]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..suggestions.len()).collect();
    order.sort_by_key(|&n| {
        (suggestions[n].best.is_none(), std::cmp::Reverse(gathered.material.olds[suggestions[n].old].hits))
    });
    order
}

/// A confidence as it is shown and compared: never rounded up.
pub(super) fn shown(confidence: f64) -> f64 {
    (confidence * 1000.0).floor() / 1000.0
}

/// What speaks for a choice, in words.
pub(super) fn reason(gathered: &Gathered, choice: &Choice) -> String {
    let name = |number: usize| gathered.exports.get(number).cloned().unwrap_or_default();
    let words: Vec<String> = choice.reasons.iter().map(|reason| reason.words(name)).collect();
    words.join("; ")
}

pub(super) fn csv(gathered: &Gathered, suggestions: &[Suggestion], order: &[usize]) -> String {
    let material = &gathered.material;
    let mut text = String::from("old,new,confidence,reason,hits,accept,old title,title,second,second confidence\n");
    for suggestion in order.iter().map(|&n| &suggestions[n]) {
        let old = &material.olds[suggestion.old];
        let url =
            |choice: &Option<Choice>| choice.as_ref().map_or("", |choice| &material.pages[choice.page].url).to_owned();
        let confidence = |choice: &Option<Choice>| {
            choice.as_ref().map_or(String::new(), |choice| format!("{:.3}", shown(choice.confidence)))
        };
        let title = suggestion.best.as_ref().and_then(|choice| material.pages[choice.page].title.clone());
        let cells = [
            old.key.clone(),
            url(&suggestion.best),
            confidence(&suggestion.best),
            suggestion.best.as_ref().map_or(String::new(), |choice| reason(gathered, choice)),
            old.hits.to_string(),
            String::new(),
            harmless(old.title.clone().unwrap_or_default()),
            harmless(title.unwrap_or_default()),
            url(&suggestion.second),
            confidence(&suggestion.second),
        ];
        text += &(cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",") + "\n");
    }
    text
}

/// A title that no spreadsheet takes for a formula: strangers have written it.
fn harmless(title: String) -> String {
    if title.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{title}") } else { title }
}

pub(super) fn json(
    gathered: &Gathered,
    suggestions: &[Suggestion],
    order: &[usize],
    added: Option<&Added>,
) -> anyhow::Result<String> {
    let material = &gathered.material;
    let choice = |choice: &Choice| {
        json!({
            "new": material.pages[choice.page].url,
            "title": material.pages[choice.page].title,
            "confidence": shown(choice.confidence),
            "reason": reason(gathered, choice),
        })
    };
    let row = |&n: &usize| {
        let suggestion = &suggestions[n];
        let old = &material.olds[suggestion.old];
        json!({
            "old": old.key,
            "hits": old.hits,
            "title": old.title,
            "best": suggestion.best.as_ref().map(choice),
            "second": suggestion.second.as_ref().map(choice),
        })
    };
    let report = json!({
        "site": gathered.site,
        "pages": material.pages.len(),
        "notes": gathered.notes,
        "rows": order.iter().map(row).collect::<Vec<Value>>(),
        "added": added,
    });
    Ok(serde_json::to_string_pretty(&report)?)
}

/// How many there are, and how sure.
pub(super) fn summary(gathered: &Gathered, suggestions: &[Suggestion]) -> String {
    let best = |least: f64| {
        suggestions.iter().filter(|s| s.best.as_ref().is_some_and(|best| shown(best.confidence) >= least)).count()
    };
    format!(
        "{}: {} unmapped, {} to choose from; {} of at least 0.95, {} of at least 0.8, {} of any confidence\n",
        gathered.site,
        count(suggestions.len(), "old URL"),
        count(gathered.material.pages.len(), "page"),
        count(best(0.95), "suggestion"),
        best(0.8),
        best(0.0),
    )
}
