//! Which country an address is said to be in, by a MaxMind database (MMDB) that the operator provides.
//!
//! Any database will do that has the country's code where GeoLite2-Country, DB-IP or IPinfo have it. It is held in memory
//! as it is in the file (some 10 MB for countries alone, more if it has cities), and checked as a whole before it is used.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use arc_swap::ArcSwapOption;
use maxminddb::{MaxMindDbError, PathElement, Reader};
use thiserror::Error;

use crate::config::Stamp;
use crate::model::Country;

/// The database, as it is at the moment. Without one, no address is in any country.
#[derive(Debug, Default)]
pub struct Countries {
    database: ArcSwapOption<Database>,
    /// The file that was last looked at, and in which state.
    source: Mutex<Option<(PathBuf, Stamp)>>,
}

#[derive(Debug)]
struct Database {
    reader: Reader<Vec<u8>>,
    field: Field,
}

/// The way to the code within a record.
type Field = &'static [PathElement<'static>];

/// Why a file can't be used.
#[derive(Debug, Error)]
pub enum CountriesError {
    /// It can't be read.
    #[error("the database of countries, {0}, can't be read")]
    Read(PathBuf, #[source] io::Error),
    /// It is larger than [`MAX_FILE`].
    #[error("the database of countries, {0}, is larger than 256 MiB: one of countries alone is smaller")]
    Size(PathBuf),
    /// It is broken or something else.
    #[error("the database of countries, {0}, is no good MaxMind database (MMDB)")]
    Format(PathBuf, #[source] MaxMindDbError),
    /// It is a database of something else.
    #[error("the database of countries, {0}, has no countries: it is of type `{1}`")]
    Field(PathBuf, String),
}

impl Countries {
    /// The country of an address, if it is known.
    pub fn country(&self, address: IpAddr) -> Option<Country> {
        let database = self.database.load();
        let database = database.as_ref()?;
        // What can't be looked up, such as IPv6 where the database has none, isn't known.
        let found = database.reader.lookup(address.to_canonical()).ok()?;
        found.decode_path::<&str>(database.field).ok()??.parse().ok()
    }

    /// Whether there is a database.
    pub fn is_known(&self) -> bool {
        self.database.load().is_some()
    }

    /// Reads the file if it is another one or has changed since the last time. Says whether there is another database now.
    ///
    /// # Errors
    /// If the file can't be used. Then the last good database stays, and the error comes once for each state of the file.
    pub fn refresh(&self, path: Option<&Path>) -> Result<bool, CountriesError> {
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = path.map(|path| (path.to_owned(), Stamp::look(path)));
        if *source == wanted {
            return Ok(false);
        }
        source.clone_from(&wanted);
        let Some((path, stamp)) = wanted else {
            self.database.store(None);
            return Ok(true);
        };
        self.database.store(Some(Database::read(path, stamp)?.into()));
        Ok(true)
    }
}

impl Database {
    fn read(path: PathBuf, stamp: Stamp) -> Result<Self, CountriesError> {
        if stamp.size() > MAX_FILE {
            return Err(CountriesError::Size(path));
        }
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => return Err(CountriesError::Read(path, error)),
        };
        let checked = Reader::from_source(bytes).and_then(|reader| {
            // Look-ups follow what the file says, so all of it must hold.
            reader.verify()?;
            let field = find_field(&reader)?;
            Ok((reader, field))
        });
        match checked {
            Ok((reader, Some(field))) => Ok(Database { reader, field }),
            Ok((reader, None)) => Err(CountriesError::Field(path, reader.metadata().database_type.clone())),
            Err(error) => Err(CountriesError::Format(path, error)),
        }
    }
}

/// Where the first record that knows a country has it.
fn find_field(reader: &Reader<Vec<u8>>) -> Result<Option<Field>, MaxMindDbError> {
    for network in reader.networks(Default::default())? {
        let record = network?;
        let has_country = |field: &&Field| {
            record.decode_path::<&str>(field).is_ok_and(|code| code.is_some_and(|code| code.parse::<Country>().is_ok()))
        };
        if let Some(field) = FIELDS.iter().find(has_country) {
            return Ok(Some(field));
        }
    }
    Ok(None)
}

/// GeoLite2 and DB-IP; IPinfo Lite; IPinfo's others.
const FIELDS: &[Field] = &[
    &[PathElement::Key("country"), PathElement::Key("iso_code")],
    &[PathElement::Key("country_code")],
    &[PathElement::Key("country")],
];

/// Largest file, in bytes.
pub const MAX_FILE: u64 = 256 << 20;
