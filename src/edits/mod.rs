//! Changes of route files by commands: shown first, written all or none, and taken back byte for byte.
//!
//! Owns: [`set`] and [`remove`] (one key of a TOML text, everything else as it was), [`Changes`] (the new texts of some files, and how they
//! differ), [`Journal`] (what was changed by whom, kept in the hidden folder `.edits` of the routes, which the gateway does not read).
//! Never does: decide what is to be changed, or ask anybody.
//!
//! Invariants: a file is replaced by renaming, so that nobody reads half of one. Before the first file is replaced, the journal has the old
//! texts of all, on the disk; what a crash or a failure leaves half done is taken back by whoever opens the journal next. A file that somebody
//! else has changed in between is never overwritten without being told to.
//! Called by: `waypost wave`, `waypost census import`.

mod changes;
mod journal;
mod toml;

pub use changes::Changes;
pub use journal::{EditError, Journal, Record, Undo};
pub use toml::{EditFault, push, quoted, remove, set};
