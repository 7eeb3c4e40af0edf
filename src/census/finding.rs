//! What is wrong with a survey, and in which cell.

use std::fmt;

use serde::Serialize;

use crate::config::Severity;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// An error keeps the row out; a warning does not.
    pub severity: Severity,
    /// The kind of finding: a fixed word, for programs.
    pub code: &'static str,
    /// The file.
    pub file: String,
    /// The sheet; empty for CSV.
    pub sheet: String,
    /// The row, counted from 1.
    pub row: u32,
    /// The column, as spreadsheet programs call it (`C`); empty if the whole row is meant.
    pub column: String,
    /// Its heading.
    pub heading: String,
    /// The name of the site.
    pub name: String,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let clean = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        writeln!(f, "{severity}[{}]: {}", self.code, clean(&self.message))?;
        let sheet = if self.sheet.is_empty() { String::new() } else { format!(", sheet {}", self.sheet) };
        let column = match (self.column.as_str(), self.heading.as_str()) {
            ("", _) => String::new(),
            (column, "") => format!(", column {column}"),
            (column, heading) => format!(", column {column} ({heading})"),
        };
        let name = if self.name.is_empty() { String::new() } else { format!(": {}", self.name) };
        writeln!(f, "  --> {}", clean(&format!("{}{sheet}, row {}{column}{name}", self.file, self.row)))?;
        if self.hint.is_empty() { Ok(()) } else { writeln!(f, "  = help: {}", clean(&self.hint)) }
    }
}
