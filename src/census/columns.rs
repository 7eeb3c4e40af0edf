//! The file that says which column is which, for sheets whose headings are not known.
//!
//! ```toml
//! name   = "单位网站"            # a heading, or several
//! hosts  = ["主站", "镜像"]
//! header = 3                     # the row with the headings, if they are not found
//! sheets = ["关停名单"]          # only these
//!
//! [words]                        # what cells of `disposition` say, beside what is known
//! close = ["撤"]
//! keep  = ["留"]
//! ```

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

use super::form::Field;
use super::words::{heading, plain};
use crate::config::suggestion;
use crate::model::Disposition;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Columns {
    /// Headings as they are compared, and what they mean.
    pub(super) fields: Vec<(String, Field)>,
    /// The row with the headings.
    pub(super) header: Option<u32>,
    /// The only sheets that are read; all with hosts where empty.
    pub(super) sheets: Vec<String>,
    /// What words of a cell mean.
    pub(super) words: Vec<(String, Disposition)>,
}

impl Columns {
    /// Reads the file.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&text).map_err(|why| format!("{}: {why}", path.display()))
    }

    /// Reads its text.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
        let mut columns = Columns::default();
        for (key, value) in &table {
            match key.as_str() {
                "header" => {
                    let number = value.as_integer().and_then(|number| u32::try_from(number).ok()).filter(|&n| n > 0);
                    columns.header = Some(number.ok_or("`header` takes the number of a row")?);
                }
                "sheets" => columns.sheets = texts(key, value)?,
                "words" => {
                    let words = value.as_table().ok_or("`words` is a table")?;
                    for (word, value) in words {
                        let meant = Disposition::parse(word).ok_or_else(|| {
                            format!("`words.{word}` is unknown: one of {}", Disposition::WORDS.join(", "))
                        })?;
                        columns.words.extend(texts(word, value)?.iter().map(|text| (plain(text), meant)));
                    }
                }
                key => {
                    let known = Field::NAMED.iter().find(|(name, _)| *name == key);
                    let names = || Field::NAMED.iter().map(|(name, _)| *name).chain(["header", "sheets", "words"]);
                    let (_, field) = known.ok_or_else(|| {
                        let hint = suggestion(key, names());
                        format!(
                            "unknown key `{key}`: {}",
                            hint.unwrap_or_else(|| names().collect::<Vec<_>>().join(", "))
                        )
                    })?;
                    columns.fields.extend(texts(key, value)?.iter().map(|text| (heading(text), *field)));
                }
            }
        }
        Ok(columns)
    }

    /// The same, of some sheets only.
    pub fn of_sheets(mut self, sheets: &[String]) -> Self {
        if !sheets.is_empty() {
            self.sheets = sheets.to_vec();
        }
        self
    }
}

fn texts(key: &str, value: &toml::Value) -> Result<Vec<String>, String> {
    let list = match value {
        toml::Value::Array(items) => items.clone(),
        one => vec![one.clone()],
    };
    let text = |item: toml::Value| item.as_str().map(str::to_owned);
    list.into_iter().map(text).collect::<Option<_>>().ok_or_else(|| format!("`{key}` takes a text, or a list of texts"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_checked() {
        let columns =
            Columns::parse("name = \"单位 网站\"\nhosts = [\"主站\", \"镜像\"]\nheader = 3\n[words]\nkeep = \"留\"\n")
                .unwrap();
        assert_eq!(columns.fields.len(), 3);
        assert!(columns.fields.contains(&("单位网站".to_owned(), Field::Name)));
        assert_eq!((columns.header, columns.words), (Some(3), vec![("留".to_owned(), Disposition::Keep)]));
        for (bad, why) in [
            ("host = \"x\"", "unknown key `host`: did you mean `hosts`?"),
            ("name = 1", "`name` takes a text, or a list of texts"),
            ("header = 0", "`header` takes the number of a row"),
            ("[words]\nstay = \"x\"", "`words.stay` is unknown: one of close, keep, exempt"),
        ] {
            assert_eq!(Columns::parse(bad).unwrap_err(), why);
        }
        assert!(Columns::parse("a = ").is_err());
    }
}
