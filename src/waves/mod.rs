//! Waves: sites that move together, and how far the consolidation has come.
//!
//! Owns: [`status()`] (what all sites' files say at a moment: how many are closed, kept, exempt; what is due, overdue, blocked),
//! [`plan()`] (dates for all sites of a wave, as changes of their files).
//! Never does: network, or writing files (`edits` does). It looks at checked sites that somebody else has loaded. Phases begin by themselves, by the
//! dates in the files: nothing has to run at that moment.
//!
//! Invariants: the counts by phase of sites that are fronted are those of the metric `waypost_sites`, since both ask the same
//! [`crate::model::Lifecycle`]; a site counts once.
//! Called by: `waypost status`, `waypost wave`, the report.

mod plan;
mod status;

pub use plan::{PlanFault, When, plan};
pub use status::{Blocked, Consolidation, Due, Group, Overdue, Tally, status};
