//! Rows that are added to a site's mapping table, as whoever saved it would have written them.
//!
//! What is there stays byte for byte: charset, byte order mark, line ends, order of columns.

use std::{
    fs, io,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use crate::config::mapping::{self, Column};

/// A row to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRow {
    /// The old address, as a canonical key.
    pub old: String,
    /// Where it goes.
    pub new: String,
    /// For other operators; left out where the table has no column for it.
    pub note: String,
}

/// Why rows can't be added.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The table is faulty as it is.
    #[error("the table has a fault of its own: {0}")]
    Faulty(String),
    /// The table has no column `new`.
    #[error("the table has no column `new`: its pages are all gone; add the column to its header first")]
    NoColumn,
    /// The file can't be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// The table with the rows at its end. `bytes` is nothing where there is no table yet.
///
/// # Errors
/// If the table is not one to which rows can be added.
pub fn added(name: &str, bytes: Option<&[u8]>, rows: &[NewRow]) -> Result<Vec<u8>, AcceptError> {
    let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
        let mut text = String::from("old,new,note\n");
        rows.iter()
            .for_each(|row| text += &line(row, &[Some(Column::Old), Some(Column::New), Some(Column::Note)], "\n"));
        return Ok(text.into_bytes());
    };
    let faulty =
        |fault: &crate::config::Diagnostic| AcceptError::Faulty(format!("line {}: {}", fault.line, fault.message));
    let file = mapping::decode(name, bytes.to_vec()).map_err(|fault| faulty(&fault))?;
    let mut faults = Vec::new();
    let mut before = 0usize;
    mapping::read(&file, &mut faults, |_, _| before += 1);
    let columns = mapping::columns_of(&file).filter(|columns| columns.contains(&Some(Column::Old)));
    if let Some(fault) = faults.first() {
        return Err(faulty(fault));
    }
    let Some(columns) = columns.filter(|columns| columns.contains(&Some(Column::New))) else {
        return Err(AcceptError::NoColumn);
    };
    let end = match bytes.iter().position(|&b| b == b'\n' || b == b'\r') {
        Some(at) if bytes[at] == b'\n' => "\n",
        Some(at) if bytes.get(at + 1) == Some(&b'\n') => "\r\n",
        Some(_) if !bytes.contains(&b'\n') => "\r",
        Some(_) => "\r\n",
        None => "\n",
    };
    let mut text = String::new();
    if !bytes.ends_with(b"\n") && !bytes.ends_with(b"\r") {
        text.push_str(end);
    }
    rows.iter().for_each(|row| text += &line(row, &columns, end));
    let mut out = bytes.to_vec();
    if std::str::from_utf8(bytes).is_ok() {
        out.extend_from_slice(text.as_bytes());
    } else {
        out.extend_from_slice(&encoding_rs::GB18030.encode(&text).0);
    }
    // What was added must be read as it was meant.
    let file = mapping::decode(name, out.clone()).map_err(|fault| faulty(&fault))?;
    let (mut faults, mut after) = (Vec::new(), 0usize);
    mapping::read(&file, &mut faults, |_, _| after += 1);
    match faults.first() {
        Some(fault) => Err(faulty(fault)),
        None if after != before + rows.len() => Err(AcceptError::Faulty("its last row is not closed".to_owned())),
        None => Ok(out),
    }
}

/// Puts a table in the place of another, as a whole; `before` is what stood there when it was read.
///
/// # Errors
/// If it can't be written, or somebody has changed it meanwhile.
pub fn replace(path: &Path, before: Option<&[u8]>, after: &[u8]) -> io::Result<()> {
    let now = match fs::read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if now.as_deref() != before {
        return Err(io::Error::other("it was changed by somebody else meanwhile"));
    }
    // A link stays one.
    let path = &path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Hidden: nobody takes it for a table before it is whole.
    let temporary = PathBuf::from(path).with_file_name(format!(".{name}.{}.new", std::process::id()));
    let result = (|| {
        let mut file = fs::File::create(&temporary)?;
        let mode = fs::metadata(path).map_or(0o644, |metadata| metadata.permissions().mode() & 0o777);
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.write_all(after)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result
}

fn line(row: &NewRow, columns: &[Option<Column>], end: &str) -> String {
    let cell = |column: &Option<Column>| match column {
        Some(Column::Old) => quoted(&row.old),
        Some(Column::New) => quoted(&row.new),
        Some(Column::Note) => quoted(&row.note),
        _ => String::new(),
    };
    columns.iter().map(cell).collect::<Vec<_>>().join(",") + end
}

/// A cell of CSV: quoted where it must be.
pub fn quoted(text: &str) -> String {
    let is_odd = text.contains(['"', ',', '\n', '\r']) || text.starts_with(' ') || text.ends_with(' ');
    if is_odd { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(old: &str) -> NewRow {
        NewRow { old: old.into(), new: "https://n.example/1,2".into(), note: "suggested 0.98: 科普".into() }
    }

    #[test]
    fn tables_stay_as_they_were_saved() {
        let add = |bytes: &[u8]| added("t.csv", Some(bytes), &[row("/a\"b")]);
        assert_eq!(
            added("t.csv", None, &[row("/a")]).unwrap(),
            "old,new,note\n/a,\"https://n.example/1,2\",suggested 0.98: 科普\n".as_bytes()
        );
        let (gbk, ..) = encoding_rs::GB18030.encode("note,new,,old\r\n科普,https://n.example/,,/x");
        let out = add(&gbk).unwrap();
        assert!(out.starts_with(&gbk));
        let (text, ..) = encoding_rs::GB18030.decode(&out);
        assert!(text.ends_with(",,/x\r\nsuggested 0.98: 科普,\"https://n.example/1,2\",,\"/a\"\"b\"\r\n"), "{text}");
        let bom = "\u{feff}old,new,status\n/x,https://n.example/,301\n".as_bytes();
        let out = String::from_utf8(add(bom).unwrap()).unwrap();
        assert_eq!(
            out.strip_prefix(std::str::from_utf8(bom).unwrap()),
            Some("\"/a\"\"b\",\"https://n.example/1,2\",\n")
        );
        assert!(matches!(add(b"old,note\n/x,\n"), Err(AcceptError::NoColumn)));
        assert!(matches!(add(b"old,new\n/x,\"https://n.example/\n"), Err(AcceptError::Faulty(_))));
        assert!(matches!(add(b"olt,new\n/x,https://n.example/\n"), Err(AcceptError::Faulty(_))));
    }

    #[test]
    fn a_table_is_replaced_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        replace(&path, None, b"a").unwrap();
        assert!(replace(&path, None, b"b").is_err());
        replace(&path, Some(b"a"), b"b").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"b");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
