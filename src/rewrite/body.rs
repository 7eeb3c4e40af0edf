//! A response body on its way: decoded, its links mapped, handed on as identity.

use encoding_rs::Encoding;
use thiserror::Error;

use super::charset::{self, HEAD, Kind};
use super::coding::Coding;
use super::css::Css;
use super::decode::Decoder;
use super::html::Html;
use super::links::Links;
use super::splice::Splice;

/// Rewrites the links in a body that comes in pieces. What comes out has no coding.
///
/// Memory stays bounded whatever comes in: what one [`write`](Self::write) puts out is at most [`MAX_OUTPUT`], beside
/// it the windows of the codings (br 16 MiB, zstd 8 MiB, gzip 32 KiB), up to 4 MiB of the HTML parser for one tag and
/// half as much again that waits for its end, one link of a style sheet (8 KiB), and the first kilobyte until the
/// charset is known.
pub struct Body {
    decoder: Decoder,
    rewriter: Rewriter,
}

enum Rewriter {
    /// Until the charset is known.
    Head {
        links: Links,
        kind: Kind,
        declared: Option<&'static Encoding>,
        head: Vec<u8>,
    },
    Html(Box<Html>),
    Css(Box<Sheet>),
    /// The charset can't be read: nothing changes.
    Verbatim,
}

struct Sheet {
    links: Links,
    css: Css,
    splice: Splice,
}

/// Why a body could not go on. Part of it may be on its way to the client already: the response has to be aborted, so
/// that nobody takes it for whole.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Failure {
    /// The origin's fault.
    #[error("the body is not valid {0}")]
    Malformed(Coding),
    /// The origin's, or of the connection to it.
    #[error("the body breaks off in the middle of its {0} coding")]
    Truncated(Coding),
    /// The origin's fault, or an attack.
    #[error("{input} bytes of the body decode to more than {MAX_OUTPUT}")]
    TooLarge {
        /// How many bytes came in.
        input: usize,
    },
    /// Ours.
    #[error("the body can't be coded as {0}")]
    Unencodable(Coding),
}

impl Body {
    /// `content_type` and `codings` (see [`codings`](super::codings)) are those of the response. `None`: there is
    /// nothing to rewrite, because it is neither HTML, XHTML nor CSS, or because its charset (UTF-16, ISO-2022-JP, HZ)
    /// can't be read as it streams.
    pub fn new(links: Links, content_type: Option<&str>, codings: &[Coding]) -> Option<Self> {
        let (kind, declared) = charset::content_type(content_type?)?;
        if declared.is_some_and(|encoding| !charset::is_readable(encoding)) {
            return None;
        }
        let rewriter = Rewriter::Head { links, kind, declared, head: Vec::new() };
        Some(Body { decoder: Decoder::new(codings)?, rewriter })
    }

    /// Takes the next bytes as they came, and appends to `out` what is ready.
    ///
    /// # Errors
    /// The body is broken; nothing more may be written.
    pub fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Failure> {
        let most = out.len() + MAX_OUTPUT;
        let rewriter = &mut self.rewriter;
        self.decoder.write(bytes, &mut |piece| {
            rewriter.write(piece, out);
            if out.len() > most { Err(Failure::TooLarge { input: bytes.len() }) } else { Ok(()) }
        })
    }

    /// The body is over: appends what is left.
    ///
    /// # Errors
    /// The body broke off.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Failure> {
        let rewriter = &mut self.rewriter;
        self.decoder.end(&mut |piece| {
            rewriter.write(piece, out);
            Ok(())
        })?;
        self.rewriter.end(out);
        Ok(())
    }

    /// Whether the page proved too much for the parser (a tag of several megabytes, tens of thousands that are never
    /// closed), so that from there on it went through as it is. Worth counting.
    pub fn gave_up(&self) -> bool {
        matches!(&self.rewriter, Rewriter::Html(html) if html.gave_up())
    }
}

impl Rewriter {
    fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Rewriter::Head { declared, head, .. } => {
                head.extend_from_slice(bytes);
                // A byte order mark overrules what is declared.
                let enough = if declared.is_some() { MAX_BOM } else { HEAD };
                if head.len() >= enough {
                    self.begin(out);
                }
            }
            Rewriter::Html(html) => html.write(bytes, out),
            Rewriter::Css(sheet) => sheet.write(bytes, out),
            Rewriter::Verbatim => out.extend_from_slice(bytes),
        }
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if matches!(self, Rewriter::Head { .. }) {
            self.begin(out);
        }
        match self {
            Rewriter::Html(html) => html.end(out),
            Rewriter::Css(sheet) => sheet.end(out),
            Rewriter::Head { .. } | Rewriter::Verbatim => {}
        }
    }

    /// Decides by the first bytes how to go on, and goes on with them.
    fn begin(&mut self, out: &mut Vec<u8>) {
        let Rewriter::Head { links, kind, declared, head } = std::mem::replace(self, Rewriter::Verbatim) else {
            return;
        };
        // Never more, however the bytes came: the pieces must not change what is decided.
        let first = &head[..head.len().min(HEAD)];
        match (charset::detect(first, declared, kind), kind) {
            (None, _) => {}
            (Some(charset), Kind::Html) => *self = Rewriter::Html(Box::new(Html::new(links, charset))),
            (Some(charset), Kind::Css) => {
                *self = Rewriter::Css(Box::new(Sheet { links, css: Css::new(charset), splice: Splice::default() }));
            }
        }
        self.write(&head, out);
    }
}

impl Sheet {
    fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let Sheet { links, css, splice } = self;
        css.read(splice.seen(), bytes, links, &mut |edit| splice.edit(edit));
        splice.hold_from(css.pending());
        splice.write(bytes, out);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let Sheet { links, css, splice } = self;
        css.end(splice.seen(), links, &mut |edit| splice.edit(edit));
        splice.end(out);
    }
}

/// Most that one piece of a body may become. Pieces are as large as a read from the platform, up to 64 KiB: a page
/// would have to shrink to a five-hundredth to come near.
pub const MAX_OUTPUT: usize = 32 << 20;

/// Length of the longest byte order mark, UTF-8's.
const MAX_BOM: usize = 3;
