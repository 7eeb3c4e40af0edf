//! Waves: sites that move together, and how far the consolidation has come.
//!
//! Owns: [`status()`] (what all sites' files say at a moment: how many are closed, kept, exempt; what is due, overdue, blocked).
//! Never does: network, or reading files; it looks at checked sites that somebody else has loaded. Nothing here changes what traffic
//! sees: phases begin by themselves, by the dates in the files.
//!
//! Invariants: the counts by phase of sites that are fronted are those of the metric `waypost_sites`, since both ask the same
//! [`crate::model::Lifecycle`]; a site counts once.
//! Called by: `waypost status`, the report.

mod status;

pub use status::{Blocked, Consolidation, Due, Group, Overdue, Tally, status};
