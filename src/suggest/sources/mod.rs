//! The files that suggestions are made from: sitemaps, exports, lists of addresses and titles. All of them are hostile.

mod sitemap;
mod table;

use std::{borrow::Cow, io::Read};

pub use sitemap::{Sitemap, sitemap};
pub use table::{Row, Rows, table};

/// Why a file is of no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It is larger, packed or unpacked, than any such file.
    #[error("it is larger than {} MiB", MOST_BYTES >> 20)]
    TooLarge,
    /// It can't be unpacked.
    #[error("it is packed by gzip, and damaged")]
    Damaged,
    /// It has no text in a charset that is known.
    #[error("it is neither UTF-8 nor GB18030")]
    Charset,
    /// It is no sitemap.
    #[error("it is no sitemap: {0}")]
    NoSitemap(String),
    /// It is no table.
    #[error("it is no table: {0}")]
    NoTable(String),
}

/// No file is larger, in bytes: five sitemaps of the largest size that search engines take.
pub const MOST_BYTES: usize = 256 << 20;

/// The text of a file, unpacked if it is packed by gzip.
fn text(bytes: &[u8]) -> Result<String, SourceError> {
    text_of(bytes, MOST_BYTES)
}

fn text_of(bytes: &[u8], most: usize) -> Result<String, SourceError> {
    let bytes = if bytes.starts_with(&[0x1F, 0x8B]) {
        let mut out = Vec::new();
        let mut reader = flate2::read::MultiGzDecoder::new(bytes).take(most as u64 + 1);
        reader.read_to_end(&mut out).map_err(|_| SourceError::Damaged)?;
        Cow::Owned(out)
    } else {
        Cow::Borrowed(bytes)
    };
    if bytes.len() > most {
        return Err(SourceError::TooLarge);
    }
    if let Some((encoding, _)) = encoding_rs::Encoding::for_bom(&bytes) {
        let (text, _, failed) = encoding.decode(&bytes);
        return if failed { Err(SourceError::Charset) } else { Ok(text.into_owned()) };
    }
    match String::from_utf8(bytes.into_owned()) {
        Ok(text) => Ok(text),
        Err(error) => encoding_rs::GB18030
            .decode_without_bom_handling_and_without_replacement(error.as_bytes())
            .map(Cow::into_owned)
            .ok_or(SourceError::Charset),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn bombs_are_not_unpacked() {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let block = vec![b' '; 1 << 20];
        packer.write_all(&block).unwrap();
        let bomb = packer.finish().unwrap();
        assert_eq!(text_of(&bomb, block.len() - 1), Err(SourceError::TooLarge));
        assert!(text_of(&bomb, block.len()).is_ok());
        assert_eq!(text(b"\x1f\x8bnonsense"), Err(SourceError::Damaged));
        assert_eq!(text(b"\xff\xff"), Err(SourceError::Charset));
        assert_eq!(text(b"\xff\xfea\0").unwrap(), "a");
    }
}
