//! The URLs by which an authority asks whether a name leads here (ACME's `http-01`; RFC 8555, 8.3).

/// The path before the token.
pub const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

/// Longest token that is one, in bytes. Authorities make tokens of 43.
const MAX_TOKEN: usize = 128;

/// The token that a request target asks for. None for anything else below the path: whatever has an escape, a query or
/// another folder was never asked for by an authority.
pub fn challenge_token(target: &[u8]) -> Option<&str> {
    let token = target.strip_prefix(CHALLENGE_PATH.as_bytes())?;
    std::str::from_utf8(token).ok().filter(|token| is_challenge_token(token))
}

/// Whether a text can be a token: base64url without padding.
pub fn is_challenge_token(text: &str) -> bool {
    (1..=MAX_TOKEN).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_all_that_follows_the_path() {
        let target = |rest: &str| format!("{CHALLENGE_PATH}{rest}").into_bytes();
        for token in ["t", "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr_oA", &"t".repeat(128)] {
            assert_eq!(challenge_token(&target(token)), Some(token));
        }
        for other in ["", "a/", "a/b", "a?", "a?b", "a.b", "a%62", "../a", "ä", "a=", &"t".repeat(129)] {
            assert_eq!(challenge_token(&target(other)), None, "{other}");
        }
        for path in
            ["/", "/.well-known/acme-challenge", "/.WELL-KNOWN/acme-challenge/a", "//.well-known/acme-challenge/a"]
        {
            assert_eq!(challenge_token(path.as_bytes()), None, "{path}");
        }
    }
}
