//! The blocks of a PEM file and where they stand.

/// One block, from its BEGIN line to its END line (or to where the next block begins, if there is none).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block<'a> {
    /// The line of `-----BEGIN …-----`, counted from 1.
    pub line: u32,
    /// What it is: `CERTIFICATE`, `PRIVATE KEY` and the like.
    pub label: &'a str,
    /// All of it.
    pub text: &'a [u8],
}

impl Block<'_> {
    /// Whether a passphrase is needed (RFC 7468, and RFC 1421 as OpenSSL writes it).
    pub fn is_encrypted(&self) -> bool {
        self.label.contains("ENCRYPTED") || memchr::memmem::find(self.text, b"Proc-Type: 4,ENCRYPTED").is_some()
    }
}

/// The blocks of a file. Text between them is allowed: OpenSSL writes what a certificate says above it.
pub(super) fn blocks(bytes: &[u8]) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<(u32, &str, usize)> = None;
    let mut at = 0;
    for (number, line) in (1..).zip(bytes.split_inclusive(|&b| b == b'\n')) {
        let (start, end) = (at, at + line.len());
        at = end;
        let begins = label(line, b"-----BEGIN ");
        let ends = open.is_some() && label(line, b"-----END ").is_some();
        if begins.is_some() || ends {
            let upto = if ends { end } else { start };
            blocks.extend(open.take().map(|(line, label, from)| Block { line, label, text: &bytes[from..upto] }));
        }
        if let Some(label) = begins {
            open = Some((number, label, start));
        }
    }
    blocks.extend(open.map(|(line, label, from)| Block { line, label, text: &bytes[from..] }));
    blocks
}

fn label<'a>(line: &'a [u8], start: &[u8]) -> Option<&'a str> {
    let label = line.trim_ascii().strip_prefix(start)?.strip_suffix(b"-----")?;
    std::str::from_utf8(label).ok().filter(|label| label.len() <= MAX_LABEL && label.is_ascii())
}

/// Longest label that is one.
const MAX_LABEL: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_where_they_stand() {
        let text = "subject=x\n-----BEGIN A-----\r\nYQ==\r\n-----END A-----\r\n\n-----BEGIN B C-----\nno end\n-----BEGIN A-----\nx\n-----END A-----";
        let found = blocks(text.as_bytes());
        let places: Vec<_> = found.iter().map(|block| (block.line, block.label)).collect();
        assert_eq!(places, [(2, "A"), (6, "B C"), (8, "A")]);
        assert_eq!(found[1].text, b"-----BEGIN B C-----\nno end\n");
        assert!(found[2].text.ends_with(b"-----END A-----"));
        assert_eq!(blocks(b""), []);
    }
}
