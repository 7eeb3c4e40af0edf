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

/// Whatever base64 within a block stands for; none if it is no base64. Lines are as long as they like, and padding may be
/// left off.
pub(super) fn decode(block: &Block<'_>) -> Option<Vec<u8>> {
    let body = block.text.split(|&byte| byte == b'\n').filter(|line| !line.starts_with(b"-----"));
    let mut out = Vec::with_capacity(block.text.len() / 4 * 3);
    let (mut word, mut held, mut ended) = (0u32, 0, false);
    for &byte in body.flatten().filter(|byte| !byte.is_ascii_whitespace()) {
        ended |= byte == b'=';
        if ended {
            if byte != b'=' {
                return None;
            }
            continue;
        }
        let place = ALPHABET.iter().position(|&sign| sign == byte)?;
        word = word << 6 | place as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((word >> held) as u8);
        }
    }
    Some(out)
}

/// A block of PEM, in lines of 64 characters (RFC 7468, 3).
pub(super) fn encode(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----\n");
    for (number, part) in der.chunks(3).enumerate() {
        if number > 0 && number.is_multiple_of(16) {
            text.push('\n');
        }
        let word = part.iter().chain(&[0, 0]).take(3).fold(0, |word, &byte| word << 8 | usize::from(byte));
        for place in 0..4 {
            text.push(if place <= part.len() { char::from(ALPHABET[word >> (18 - 6 * place) & 63]) } else { '=' });
        }
    }
    text.push_str(&format!("\n-----END {label}-----\n"));
    text
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

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

    #[test]
    fn what_is_encoded_is_decoded() {
        for length in 0..200 {
            let bytes: Vec<u8> = (0..length).map(|number| (number * 7) as u8).collect();
            let text = encode("A", &bytes);
            let blocks = blocks(text.as_bytes());
            assert_eq!((blocks.len(), decode(&blocks[0])), (1, Some(bytes)));
            assert!(text.lines().all(|line| line.len() <= 64));
        }
        let block = |text| Block { line: 1, label: "A", text };
        assert_eq!(decode(&block(b"-----BEGIN A-----\nYQ=b\n")), None);
        assert_eq!(decode(&block(b"-----BEGIN A-----\nY?==\n")), None);
        assert_eq!(decode(&block(b"YWI")), Some(b"ab".to_vec()));
    }
}
