//! Which site, which mapping, which rule: the decision and everything it is made from.
//!
//! [`Snapshot`] is immutable: hosts → [`SiteTable`]s, each with its mappings ([`MappingTable`]) and rules
//! ([`RuleSet`]). [`Snapshot::decide`] is a pure function of the snapshot, the request and the time; traffic,
//! `explain`, `check` and the tests call the same one. [`Loader`] builds a snapshot from a folder and, on reload,
//! rebuilds only the sites whose files changed. `lint` finds what is wrong between rules and between sites.
//!
//! Invariants: a location that a verdict carries has a host that the policy allows; a site with faults never replaces
//! one without. Never does: network, logging, clocks.

mod automaton;
mod build;
mod decide;
mod folder;
mod frozen;
mod hosts;
mod lint;
mod loader;
mod mappings;
mod render;
mod rules;
mod shadow;
mod site;
mod snapshot;
mod trace;

pub use decide::{By, Decision, REFUSED_PATH, Request, Scratch};
pub(crate) use folder::scan;
pub use hosts::HostSet;
pub use loader::{LoadReport, Loader};
pub use mappings::{Hit, HitAction, MappingTable, MappingTableBuilder};
pub(crate) use rules::RuleScratch;
pub use rules::RuleSet;
pub use site::SiteTable;
pub use snapshot::Snapshot;
pub use trace::{NoTrace, Step, Trace};
