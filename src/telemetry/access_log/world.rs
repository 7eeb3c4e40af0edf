//! What the access log asks of the system, so that tests can have other days and full disks.

use std::{
    fmt,
    fs::File,
    io::{self, Write as _},
    sync::Arc,
};

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// The time, and how bytes get into a file.
#[derive(Clone)]
pub(super) struct World {
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Whose midnight it is that a file ends at.
    pub zone: TimeZone,
    pub write: Arc<Write>,
}

/// As [`io::Write::write`].
type Write = dyn Fn(&File, &[u8]) -> io::Result<usize> + Send + Sync;

impl World {
    /// The real one.
    pub(super) fn real() -> Self {
        World {
            now: Arc::new(Timestamp::now),
            zone: TimeZone::system(),
            write: Arc::new(|mut file, bytes| file.write(bytes)),
        }
    }

    /// The local day of now.
    pub(super) fn today(&self) -> Date {
        self.day((self.now)())
    }

    /// The local day of a moment.
    pub(super) fn day(&self, time: Timestamp) -> Date {
        self.zone.to_datetime(time).date()
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").field("zone", &self.zone).finish_non_exhaustive()
    }
}
