//! The survey of sites: a spreadsheet → site files, and back.
//!
//! Owns: reading workbooks and CSV as people fill them in ([`Columns`] says which column is which, where the headings don't), the contradictions
//! between its rows ([`Finding`]), the site files that come of it ([`Survey::plan`]), and the way back ([`export()`]).
//! Never does: write files (the changes are `edits`'), judge what else is wrong with the routes (that is `waypost check`'s), or touch anything of a
//! site file that the survey says nothing of.
//!
//! Invariants: each row is in exactly one place: in a site's file, among the rows that are no site's, or in a finding that says why not. What its cells
//! say is kept word for word (`[census.cells]`), so that an export gives the same cells back, but for what has been changed in the files since. An import
//! never deletes a file, and never overwrites what somebody has changed by hand. A spreadsheet is hostile input: sizes are bounded before anything is
//! unpacked.
//! Called by: `waypost census`.

mod columns;
mod entry;
mod export;
mod files;
mod finding;
mod form;
mod sheet;
mod survey;
#[cfg(test)]
mod tests;
mod wave;
mod words;

pub use columns::Columns;
pub use export::{Encoding, Exported, export, surveys, template};
pub use files::Target;
pub use finding::Finding;
pub use sheet::{Row, Sheet, SheetError, parse as read};
pub use survey::{Planned, Survey};
pub use wave::wave_number;

/// Reads bytes as a spreadsheet and its rows as sites, for the fuzzer.
#[cfg(any(test, fuzzing))]
pub fn fuzz(bytes: &[u8]) {
    if let Ok(sheets) = sheet::parse("fuzz", bytes.to_vec()) {
        let _ = Survey::of("fuzz", "fuzz", &sheets, Columns::default());
    }
}
