//! Links in style sheets: `url(…)`, and the string after `@import`.

use super::charset::Charset;
use super::links::{Edit, Links};
use super::spelled::Spelled;
use super::values::is_space;

/// Finds links in CSS that comes in pieces (CSS Syntax 3). Remembers one link at most, of up to [`MAX_LINK`] bytes.
///
/// Comments, strings that are no links, and the names of `@namespace` are left alone. So is a `url` that is itself
/// spelled with escapes.
#[derive(Debug)]
pub(super) struct Css {
    charset: Charset,
    state: State,
    /// What a character begins that has not come to its end.
    within: Within,
    /// The identifier that is being read, in lower case, cut one byte after the longest that matters.
    word: Vec<u8>,
    rule: Rule,
    link: Spelled,
    /// Where the link began that is being read and may have to change.
    link_start: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Plain,
    /// After a slash.
    Slash,
    Comment,
    /// After an asterisk in a comment.
    CommentStar,
    String {
        quote: u8,
    },
    /// After `url(`.
    Url,
    /// In an unquoted `url(…)`.
    Bare,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Within {
    None,
    /// After a backslash.
    Escape {
        start: usize,
    },
    Hex {
        start: usize,
        code: u32,
        digits: u8,
    },
    /// After a carriage return that belongs to an escape: a line feed belongs to it too.
    LineEnd,
    /// After the first byte of a character of two.
    Trail,
}

/// The at-rule whose beginning is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    Other,
    Import,
    Namespace,
}

impl Css {
    pub(super) fn new(charset: Charset) -> Self {
        Css {
            charset,
            state: State::Plain,
            within: Within::None,
            word: Vec::with_capacity(MAX_WORD),
            rule: Rule::Other,
            link: Spelled::default(),
            link_start: None,
        }
    }

    /// Reads on: `bytes` stand at `at`. Hands over what must change, in order; a change may begin in bytes that came
    /// before, but never before [`pending`](Self::pending) as it was then.
    pub(super) fn read(&mut self, at: usize, bytes: &[u8], links: &Links, emit: &mut impl FnMut(Edit)) {
        let mut done = 0;
        while let Some(&byte) = bytes.get(done) {
            // Most bytes of most sheets: nothing that could begin a link, a string, a comment or an escape.
            if self.state == State::Plain && self.within == Within::None && is_dull(byte) {
                self.end_word();
                done += bytes[done..].iter().take_while(|&&byte| is_dull(byte)).count();
                continue;
            }
            self.step(at + done, byte, links, emit);
            done += 1;
        }
    }

    pub(super) fn charset(&self) -> Charset {
        self.charset
    }

    /// From where on bytes may still have to change.
    pub(super) fn pending(&self) -> Option<usize> {
        self.link_start
    }

    /// The sheet is over at `at`. A link that was not closed is closed by the end (CSS Syntax, 4.3.5 and 4.3.6).
    pub(super) fn end(&mut self, at: usize, links: &Links, emit: &mut impl FnMut(Edit)) {
        if let Within::Hex { start, code, .. } = self.within {
            self.push_code(code, start..at);
        }
        self.finish_link(links, emit);
        *self = Css::new(self.charset);
    }

    fn step(&mut self, at: usize, byte: u8, links: &Links, emit: &mut impl FnMut(Edit)) {
        if self.link_start.is_some_and(|start| at - start > MAX_LINK) {
            self.link_start = None;
        }
        match std::mem::replace(&mut self.within, Within::None) {
            Within::None => {}
            Within::Trail if Charset::is_trail(byte) => return self.push(byte, at..at + 1),
            Within::LineEnd if byte == b'\n' => return,
            Within::Trail | Within::LineEnd => {}
            Within::Escape { start } => return self.escaped(start, at, byte),
            Within::Hex { start, code, digits } => match char::from(byte).to_digit(16) {
                Some(digit) if digits < 6 => {
                    self.within = Within::Hex { start, code: code * 16 + digit, digits: digits + 1 };
                    return;
                }
                _ if is_space(byte) => {
                    self.push_code(code, start..at + 1);
                    self.line_end(byte);
                    return;
                }
                _ => self.push_code(code, start..at),
            },
        }
        if self.charset.is_lead(byte) {
            self.within = Within::Trail;
        }
        match self.state {
            State::Plain => self.plain(at, byte),
            State::Slash if byte == b'*' => self.state = State::Comment,
            State::Slash => {
                self.state = State::Plain;
                self.plain(at, byte);
            }
            State::Comment if byte == b'*' => self.state = State::CommentStar,
            State::Comment => {}
            State::CommentStar => match byte {
                b'/' => self.state = State::Plain,
                b'*' => {}
                _ => self.state = State::Comment,
            },
            State::String { quote } => match byte {
                b'\\' => self.within = Within::Escape { start: at },
                // A string that is not closed on its line is no string.
                b'\n' | b'\r' | b'\x0C' => {
                    self.link_start = None;
                    self.state = State::Plain;
                }
                _ if byte == quote => {
                    self.finish_link(links, emit);
                    self.state = State::Plain;
                }
                _ => self.push(byte, at..at + 1),
            },
            State::Url => match byte {
                _ if is_space(byte) => {}
                b'"' | b'\'' => {
                    self.begin_link(at + 1);
                    self.state = State::String { quote: byte };
                }
                b')' => self.state = State::Plain,
                _ => {
                    self.begin_link(at);
                    self.state = State::Bare;
                    self.bare(at, byte, links, emit);
                }
            },
            State::Bare => self.bare(at, byte, links, emit),
        }
    }

    fn plain(&mut self, at: usize, byte: u8) {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | 0x80..) {
            return self.push(byte, at..at + 1);
        }
        if byte == b'\\' {
            self.within = Within::Escape { start: at };
            return;
        }
        let is_url = self.word == b"url" || self.word == b"src";
        self.end_word();
        match byte {
            b'@' => self.word.push(b'@'),
            b'(' if is_url && self.rule != Rule::Namespace => self.state = State::Url,
            b'"' | b'\'' => {
                if self.rule == Rule::Import {
                    self.begin_link(at + 1);
                }
                self.state = State::String { quote: byte };
            }
            b'/' => self.state = State::Slash,
            b';' | b'{' | b'}' => self.rule = Rule::Other,
            _ => {}
        }
    }

    fn bare(&mut self, at: usize, byte: u8, links: &Links, emit: &mut impl FnMut(Edit)) {
        match byte {
            b')' => {
                self.finish_link(links, emit);
                self.state = State::Plain;
            }
            b'\\' => self.within = Within::Escape { start: at },
            // A bad URL: it goes on to the parenthesis, and is nothing.
            b'"' | b'\'' | b'(' => self.link_start = None,
            _ => self.push(byte, at..at + 1),
        }
    }

    /// The byte after a backslash.
    fn escaped(&mut self, start: usize, at: usize, byte: u8) {
        if let Some(code) = char::from(byte).to_digit(16) {
            self.within = Within::Hex { start, code, digits: 1 };
        } else if matches!(byte, b'\n' | b'\r' | b'\x0C') {
            // In a string, a line end that is escaped is nothing. Elsewhere the backslash is alone, and no link can go
            // on.
            if !matches!(self.state, State::String { .. }) {
                self.link_start = None;
            }
            self.line_end(byte);
        } else {
            if self.charset.is_lead(byte) {
                self.within = Within::Trail;
            }
            self.push_code(byte.into(), start..at + 1);
        }
    }

    fn line_end(&mut self, byte: u8) {
        if byte == b'\r' {
            self.within = Within::LineEnd;
        }
    }

    /// What an escape stands for. Beyond ASCII, any byte beyond ASCII does.
    fn push_code(&mut self, code: u32, at: std::ops::Range<usize>) {
        let byte = u8::try_from(code).ok().filter(|byte| (1..=0x7F).contains(byte)).unwrap_or(0xFF);
        // An identifier with an escape in it is none of those that matter.
        let byte = if self.state == State::Plain { 0xFF } else { byte };
        self.push(byte, at);
    }

    /// One more byte of the identifier or of the link.
    fn push(&mut self, byte: u8, at: std::ops::Range<usize>) {
        match self.state {
            State::Plain if self.word.len() < MAX_WORD => self.word.push(byte.to_ascii_lowercase()),
            State::String { .. } | State::Bare if self.link_start.is_some() => self.link.push(byte, at),
            _ => {}
        }
    }

    fn end_word(&mut self) {
        match self.word.as_slice() {
            b"@import" => self.rule = Rule::Import,
            b"@namespace" => self.rule = Rule::Namespace,
            _ => {}
        }
        self.word.clear();
    }

    fn begin_link(&mut self, at: usize) {
        self.link.clear();
        self.link_start = Some(at);
        // What comes after the link of an import are conditions.
        if self.rule == Rule::Import {
            self.rule = Rule::Other;
        }
    }

    fn finish_link(&mut self, links: &Links, emit: &mut impl FnMut(Edit)) {
        if self.link_start.take().is_some()
            && let Some(edit) = links.edit(self.link.bytes())
        {
            emit(self.link.edit(edit));
        }
    }
}

/// Whether a byte outside of everything only ends identifiers.
fn is_dull(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b':' | b',' | b'.' | b'#' | b')' | b'%' | b'>' | b'+' | b'*' | b'=')
}

/// One byte more than `@namespace`.
const MAX_WORD: usize = 11;

/// Longest spelling of a link that is looked at. Images inside `data:` URLs are longer, and never change.
const MAX_LINK: usize = 8 * 1024;
