//! Which country an address is said to be in, by a MaxMind database (MMDB) that the operator provides.
//!
//! Any database will do that has the country's code where GeoLite2-Country, DB-IP or IPinfo have it. It is held in memory
//! as it is in the file (some 10 MB for countries alone, more if it has cities), and checked as a whole before it is used.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwapOption;
use maxminddb::{MaxMindDbError, PathElement, Reader};

use crate::config::Stamp;
use crate::model::Country;

/// The database, as it is at the moment. Without one, no address is in any country.
#[derive(Debug, Default)]
pub struct Countries {
    database: ArcSwapOption<Database>,
    source: Mutex<Source>,
}

/// What was last looked at.
#[derive(Debug, Default)]
struct Source {
    file: Option<(PathBuf, Stamp)>,
    /// What is wrong with it.
    fault: Option<String>,
}

#[derive(Debug)]
struct Database {
    reader: Reader<Vec<u8>>,
    field: Field,
}

/// The way to the code within a record.
type Field = &'static [PathElement<'static>];

impl Countries {
    /// The country of an address, if it is known.
    pub fn country(&self, address: IpAddr) -> Option<Country> {
        let database = self.database.load();
        let database = database.as_ref()?;
        // What can't be looked up, such as IPv6 where the database has none, isn't known.
        let found = database.reader.lookup(address.to_canonical()).ok()?;
        found.decode_path::<&str>(database.field).ok()??.parse().ok()
    }

    /// Reads the file if it is another one or has changed since the last time. Says whether there is another database now;
    /// not if the file is faulty, since then the last good one stays.
    pub fn refresh(&self, path: Option<&Path>) -> bool {
        let mut source = self.source();
        let wanted = path.map(|path| (path.to_owned(), Stamp::look(path)));
        if source.file == wanted {
            return false;
        }
        source.fault = None;
        match wanted.as_ref().map(|(path, stamp)| Database::read(path, *stamp)) {
            None => self.database.store(None),
            Some(Ok(database)) => self.database.store(Some(database.into())),
            Some(Err(fault)) => source.fault = Some(fault),
        }
        source.file = wanted;
        source.fault.is_none()
    }

    /// What is wrong with the file, as it was last looked at.
    pub fn fault(&self) -> Option<String> {
        self.source().fault.clone()
    }

    /// The file.
    pub fn path(&self) -> Option<PathBuf> {
        self.source().file.as_ref().map(|(path, _)| path.clone())
    }

    fn source(&self) -> MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Database {
    /// Reads a file, or says what is wrong with it.
    fn read(path: &Path, stamp: Stamp) -> Result<Self, String> {
        if stamp.size() > MAX_FILE {
            return Err(format!(
                "this database is larger than {} MiB: one of countries alone is smaller",
                MAX_FILE >> 20
            ));
        }
        let bytes = fs::read(path).map_err(|error| format!("this database can't be read: {error}"))?;
        let checked = Reader::from_source(bytes).and_then(|reader| {
            // Look-ups follow what the file says, so all of it must hold.
            reader.verify()?;
            let field = find_field(&reader)?;
            Ok((reader, field))
        });
        match checked {
            Ok((reader, Some(field))) => Ok(Database { reader, field }),
            Ok((reader, None)) => {
                Err(format!("this database has no countries: it is of type `{}`", reader.metadata().database_type))
            }
            Err(error) => Err(format!("this is no good MaxMind database: {error}")),
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
const MAX_FILE: u64 = 256 << 20;
