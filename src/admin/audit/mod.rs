//! The audit log: what was changed through the admin address and by `waypost admin`, by whom, and from where.
//!
//! A file of JSON, a line for each event (`record`). Lines are numbered and chained by SHA-256, so that whoever edits
//! one, takes some out or puts them into another order can be shown it (`verify`). What is cut off at the end shows by
//! the file `FILE.head` beside it, or (where somebody would change that, too) by a hash that was kept elsewhere: each is
//! in the program's own log.
//!
//! Owns: both files. Never does: deciding who may change what.
//!
//! Invariants: a change begins only when it is on disk that it does, and is acknowledged only when it is on disk what came
//! of it; a line is never changed, a broken one left by a crash included: the next line tells of it; two processes never
//! write at the same time (`FILE.head` is locked). A file that is renamed is followed by another that goes on where it
//! ended.
//!
//! Called by: [`super`] and `cli`.

mod log;
mod record;
#[cfg(test)]
mod tests;
mod verify;

pub use log::{AuditError, AuditLog, Author, Change, ChangeError};
pub use verify::{Fault, Report, verify};

pub(super) use record::hex;
