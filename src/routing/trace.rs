//! What a decision looked at, for `explain`.

use crate::model::Source;

/// Receives each step of a decision. The traffic's tracer does nothing and costs nothing.
pub trait Trace {
    /// Whether steps are kept at all.
    const KEEPS: bool = true;

    /// A step was taken; `detail` is only called by tracers that keep it.
    fn step(&mut self, name: &'static str, source: Option<Source<'_>>, detail: impl FnOnce() -> String);
}

/// Keeps nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoTrace;

impl Trace for NoTrace {
    const KEEPS: bool = false;

    #[inline]
    fn step(&mut self, _: &'static str, _: Option<Source<'_>>, _: impl FnOnce() -> String) {}
}

/// A step that was taken.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Step {
    /// Which step.
    pub step: &'static str,
    /// What came of it.
    pub detail: String,
    /// Where what was looked at is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl Trace for Vec<Step> {
    fn step(&mut self, name: &'static str, source: Option<Source<'_>>, detail: impl FnOnce() -> String) {
        self.push(Step { step: name, detail: detail(), source: source.map(|source| source.to_string()) });
    }
}
