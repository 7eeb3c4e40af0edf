//! Dates for all sites of a wave, as changes of their files.

use std::io;

use crate::config::{Site, parse_date};
use crate::edits::{Changes, EditFault, remove, set};
use crate::model::{Disposition, Phase};

/// When a phase begins, as it is written in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct When {
    text: String,
    at: i64,
}

impl When {
    /// A date (local midnight) or a moment in RFC 3339.
    ///
    /// # Errors
    /// When the text is neither.
    pub fn parse(text: &str) -> Result<Self, String> {
        let at = parse_date(text)?;
        // As TOML has it, whatever blanks and small letters it was given with.
        let text = text.parse::<toml::value::Datetime>().map_err(|error| error.to_string())?.to_string();
        Ok(When { text, at })
    }

    /// The moment, in Unix seconds.
    pub fn at(&self) -> i64 {
        self.at
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Why a wave can't get its dates.
#[derive(Debug, thiserror::Error)]
pub enum PlanFault {
    /// No site says that it belongs to it.
    #[error("no site to close has wave = {0}")]
    NoSites(u16),
    /// A site's file can't be read.
    #[error("{name}: {error}")]
    Io {
        /// The file.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// A site's file can't be edited.
    #[error("{name}: {fault}")]
    Edit {
        /// The file.
        name: String,
        /// Why.
        fault: EditFault,
    },
}

/// Has the phases begin in all sites to close of a wave as `dates` say. Returns how many sites that are.
///
/// A date of phase `proxy` that comes later than one of those goes: before its first phase a site is proxied anyway.
///
/// # Errors
/// When there are no such sites, or one's file can't be edited: `changes` may have those of others then.
pub fn plan<'a>(
    sites: impl IntoIterator<Item = &'a Site>,
    wave: u16,
    dates: &[(Phase, When)],
    changes: &mut Changes,
) -> Result<usize, PlanFault> {
    let of_wave = |site: &&Site| site.wave == Some(wave) && site.disposition == Disposition::Close;
    let mut count = 0;
    for site in sites.into_iter().filter(of_wave) {
        count += 1;
        let name = format!("{}.toml", site.id);
        let io = |error| PlanFault::Io { name: name.clone(), error };
        let gone = || io(io::ErrorKind::NotFound.into());
        let text = changes.text(&name).map_err(io)?.ok_or_else(gone)?;
        let edited = edit(site, text, dates).map_err(|fault| PlanFault::Edit { name: name.clone(), fault })?;
        changes.put(&name, edited).map_err(io)?;
    }
    if count == 0 { Err(PlanFault::NoSites(wave)) } else { Ok(count) }
}

fn edit(site: &Site, text: String, dates: &[(Phase, When)]) -> Result<String, EditFault> {
    // The mark that some programs put at the beginning of a file is no TOML.
    let (mark, text) = match text.strip_prefix('\u{feff}') {
        Some(rest) => ("\u{feff}", rest.to_owned()),
        None => ("", text),
    };
    let start = |phase: Phase| site.lifecycle.starts().iter().find(|(_, known)| *known == phase).map(|(at, _)| *at);
    let mut text = text;
    let first = dates.iter().map(|(_, when)| when.at()).min();
    if start(Phase::Proxy) > first {
        text = remove(&text, &["lifecycle"], Phase::Proxy.name())?;
    }
    let order = Phase::ALL.map(Phase::name);
    for (phase, when) in dates {
        if start(*phase) != Some(when.at()) {
            text = set(&text, &["lifecycle"], phase.name(), when.as_str(), &order, false)?;
        }
    }
    Ok(mark.to_owned() + &text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_toml_has_them() {
        for (text, written) in [
            ("2026-03-01", "2026-03-01"),
            ("2026-03-01T08:00:00+08:00", "2026-03-01T08:00:00+08:00"),
            ("2026-03-01 08:00:00z", "2026-03-01T08:00:00Z"),
        ] {
            assert_eq!(When::parse(text).unwrap().as_str(), written);
        }
        for bad in ["", "soon", "2026-02-30", "2026-3-1", "8:00"] {
            assert!(When::parse(bad).is_err(), "{bad}");
        }
    }
}
