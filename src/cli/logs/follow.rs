//! What is written from now on.

use std::{
    fs::File,
    io::{self, BufReader, Seek, Write},
    path::Path,
    thread::sleep,
    time::Duration,
};

use super::{
    filter::Filter,
    history::{is_there, open, pass, read_current},
    show::Show,
};
use crate::telemetry::access_log::CURRENT;

/// Shows requests for which `filter` holds as they come, after what has been read of `current`. Ends when nobody reads any
/// more, or with a signal.
pub(super) fn follow<W: Write>(
    folder: &Path,
    current: Option<BufReader<File>>,
    filter: &Filter,
    show: &mut Show<W>,
) -> anyhow::Result<()> {
    let path = folder.join(CURRENT);
    let mut current = current;
    loop {
        // Before the last of it is read: what is written after it was rotated is in another file.
        let is_last = current.as_ref().is_some_and(|current| !is_there(&path, current.get_ref()));
        if let Some(reader) = &mut current {
            read(reader, filter, show)?;
        }
        show.flush()?;
        if is_last || current.is_none() {
            current = open(&path)?;
            if is_last && current.is_some() {
                continue;
            }
        }
        sleep(PAUSE);
    }
}

/// Shows what is new.
fn read<W: Write>(reader: &mut BufReader<File>, filter: &Filter, show: &mut Show<W>) -> io::Result<()> {
    if reader.get_ref().metadata()?.len() < reader.stream_position()? {
        // It was cut (`copytruncate`).
        reader.rewind()?;
    }
    read_current(reader, |line| pass(line, filter, show))
}

/// How often it looks.
const PAUSE: Duration = Duration::from_millis(200);
