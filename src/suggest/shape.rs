//! What an address is made of: family, folder, numbers that may be ids, and a day.

use std::hash::{BuildHasher, Hasher};

/// A day, or a month, that an address names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    /// Year.
    pub year: u16,
    /// Month.
    pub month: u8,
    /// Day; 0 where only the month is known.
    pub day: u8,
}

impl Day {
    /// A text that begins with a date, as `2018-10-26`, `2018/10/26 08:00`, `20181026` or `2018年10月26日`.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split(|c: char| !c.is_ascii_digit()).filter(|part| !part.is_empty());
        let first = numbers.next()?;
        if first.len() >= 8 {
            return Self::of_digits(first);
        }
        let (year, month) = (first.parse().ok()?, numbers.next()?.parse().ok()?);
        Self::checked(year, month, numbers.next().and_then(|day| day.parse().ok()).unwrap_or(0))
    }

    fn of_digits(digits: &str) -> Option<Self> {
        let part = |from: usize, to: usize| digits.get(from..to)?.parse::<u32>().ok();
        Self::checked(part(0, 4)?, part(4, 6)?, part(6, 8).unwrap_or(0)).filter(|day| day.day > 0 || digits.len() == 6)
    }

    fn checked(year: u32, month: u32, day: u32) -> Option<Self> {
        let fits = (1990..=2040).contains(&year) && (1..=12).contains(&month) && day <= 31;
        fits.then_some(Day { year: year as u16, month: month as u8, day: day as u8 })
    }

    /// How many days lie between them, about; nothing where one of them is only a month.
    pub(super) fn distance(self, other: Self) -> Option<u32> {
        let count = |day: Self| u32::from(day.year) * 372 + u32::from(day.month) * 31 + u32::from(day.day);
        (self.day > 0 && other.day > 0).then(|| count(self).abs_diff(count(other)))
    }

    /// Whether both say the same, as far as both say it.
    pub(super) fn agrees(self, other: Self) -> bool {
        (self.year, self.month) == (other.year, other.month)
            && (self.day == 0 || other.day == 0 || self.day == other.day)
    }
}

/// An address, taken apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Shape {
    /// Its last part with `#` for each number: the pages of one program share it. Empty if there is no number.
    pub family: String,
    /// What stands before that: the column that the page is in.
    pub folder: String,
    /// The numbers, as [`id`] has them.
    pub ids: Vec<u64>,
    /// What they are called: the parameter, or nothing for those of a path.
    pub names: Vec<String>,
    pub day: Option<Day>,
    /// The name of its file, without ending; empty for the front page of a folder.
    pub stem: String,
    /// Whether it is the front page of a folder.
    pub is_index: bool,
}

/// What ids are compared by: a number is itself, however many zeros stand before it; anything else is a hash with the highest
/// bit set.
pub(super) fn id(text: &str) -> u64 {
    if text.len() <= 18 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return text.parse().unwrap_or(0);
    }
    hashed(text)
}

/// A text that is no number, for comparison.
pub(super) fn hashed(text: &str) -> u64 {
    let mut hasher = foldhash::fast::FixedState::default().build_hasher();
    text.chars().flat_map(char::to_lowercase).for_each(|c| hasher.write_u32(c as u32));
    hasher.finish() | TEXT
}

/// Whether an id is a number, with which one can reckon.
pub(super) fn is_number(id: u64) -> bool {
    id & TEXT == 0
}

const TEXT: u64 = 1 << 63;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    Number,
    Token,
    Date,
}

#[derive(Clone, Copy, Debug)]
struct Piece<'a> {
    text: &'a str,
    kind: Kind,
    segment: usize,
}

impl Shape {
    /// Takes a canonical key or a whole URL apart.
    pub fn of(url: &str) -> Self {
        let url = decoded(url.split('#').next().unwrap_or_default()).to_lowercase();
        let (host, rest) = match url.split_once("://") {
            Some((_, rest)) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
            None => ("", url.as_str()),
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).take(MAX_SEGMENTS).collect();
        let mut pieces = Vec::new();
        segments.iter().enumerate().for_each(|(n, segment)| cut(segment, n, &mut pieces));
        let day = find_day(&mut pieces, segments.len());
        let mut params: Vec<(&str, &str)> = query
            .split('&')
            .take(MAX_SEGMENTS)
            .filter_map(|pair| pair.split_once('='))
            .filter(|(name, value)| !name.is_empty() && !value.is_empty())
            .collect();
        params.sort_unstable();

        let mut shape = Shape { day, ..Shape::default() };
        let leaf = segments.last().copied().unwrap_or_default();
        let stem = leaf.rsplit_once('.').map_or(leaf, |(stem, _)| stem);
        let is_closed = path.ends_with('/') || path.is_empty() || !leaf.contains('.') && params.is_empty();
        shape.is_index = INDEX.contains(&stem) && params.is_empty() || is_closed;
        shape.stem = if INDEX.contains(&stem) { String::new() } else { stem.to_owned() };

        let is_id = |piece: &&Piece<'_>| matches!(piece.kind, Kind::Number | Kind::Token);
        let in_query = params.iter().any(|(_, value)| is_id_text(value));
        let last = pieces.iter().filter(is_id).map(|piece| piece.segment).next_back();
        let start = match last {
            Some(segment) if !in_query || segment + 1 == segments.len() => segment,
            _ if in_query => segments.len().saturating_sub(1),
            _ => {
                let end = segments.len() - usize::from(shape.stem.is_empty() && !segments.is_empty());
                let end = if shape.is_index { end } else { segments.len().saturating_sub(1) };
                shape.folder = folder(host, &pieces, end, &params);
                return shape;
            }
        };
        let mut at = usize::MAX;
        for piece in pieces.iter().filter(|piece| piece.segment >= start) {
            if piece.segment != at {
                shape.family.push('/');
                at = piece.segment;
            }
            match piece.kind {
                Kind::Word if piece.text.len() > MAX_WORD || !piece.text.is_ascii() => shape.family.push('~'),
                Kind::Word => shape.family.push_str(piece.text),
                Kind::Date => shape.family.push('%'),
                Kind::Number | Kind::Token => {
                    shape.family.push('#');
                    shape.ids.push(id(piece.text));
                    shape.names.push(String::new());
                }
            }
        }
        for (name, value) in &params {
            shape.family.push_str(&format!("&{name}"));
            if is_id_text(value) {
                shape.family.push_str("=#");
                shape.ids.push(id(value));
                shape.names.push((*name).to_owned());
            }
        }
        shape.folder = folder(host, &pieces, start, &params);
        shape
    }
}

/// Whether a word names a column rather than a page.
pub(super) fn is_column_name(name: &str) -> bool {
    COLUMN_NAMES.iter().any(|word| name.contains(word)) && !name.contains("article")
}

/// Whether a family looks like lists of pages.
pub(super) fn is_list_like(family: &str) -> bool {
    family.split(|c: char| !c.is_ascii_alphabetic()).any(|word| LIST_WORDS.contains(&word))
}

fn is_id_text(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) || is_token(text)
}

/// UUIDs, and long hexadecimal numbers.
fn is_token(text: &str) -> bool {
    let (digits, letters) = (text.bytes().any(|b| b.is_ascii_digit()), text.bytes().any(|b| b.is_ascii_alphabetic()));
    let hex = text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-' || b == b'{' || b == b'}');
    hex && digits && letters && text.len() >= 16
}

/// Cuts a segment into words and numbers.
fn cut<'a>(segment: &'a str, number: usize, pieces: &mut Vec<Piece<'a>>) {
    let (stem, ending) = segment.split_at(segment.rfind('.').unwrap_or(segment.len()));
    if is_token(stem) {
        pieces.push(Piece { text: stem, kind: Kind::Token, segment: number });
        pieces.push(Piece { text: ending, kind: Kind::Word, segment: number });
        return;
    }
    let mut rest = segment;
    while let Some(first) = rest.bytes().next() {
        let is_digit = first.is_ascii_digit();
        let end = rest.bytes().position(|b| b.is_ascii_digit() != is_digit).unwrap_or(rest.len());
        let (text, after) = rest.split_at(end);
        rest = after;
        if pieces.len() >= MAX_PIECES {
            return;
        }
        // `.mp4`, `.htm5`: not ids.
        let kind = if is_digit && !text.is_empty() { Kind::Number } else { Kind::Word };
        pieces.push(Piece { text, kind, segment: number });
    }
}

/// Finds the day that an address names, and marks the pieces that say it.
fn find_day(pieces: &mut [Piece<'_>], segments: usize) -> Option<Day> {
    let mut found = None;
    for n in 0..pieces.len() {
        let Piece { text, kind: Kind::Number, segment } = pieces[n] else { continue };
        let alone = |n: usize, pieces: &[Piece<'_>]| {
            let segment = pieces[n].segment;
            pieces.iter().filter(|piece| piece.segment == segment).count() == 1
        };
        match text.len() {
            8 => {
                if let Some(day) = Day::of_digits(text) {
                    pieces[n].kind = Kind::Date;
                    found = finer(found, day);
                }
            }
            6 if alone(n, pieces) && segment + 1 < segments => {
                if let Some(day) = Day::of_digits(text) {
                    pieces[n].kind = Kind::Date;
                    found = finer(found, day);
                }
            }
            4 => {
                let next = following(pieces, n);
                let Some((month_at, month)) = next.map(|at| (at, pieces[at].text)) else { continue };
                let year: u32 = text.parse().unwrap_or(0);
                if month.len() == 4
                    && let Some(day) = Day::of_digits(&format!("{text}{month}"))
                    && day.day > 0
                {
                    pieces[n].kind = Kind::Date;
                    pieces[month_at].kind = Kind::Date;
                    found = finer(found, day);
                } else if month.len() <= 2
                    && let Some(mut day) = Day::checked(year, month.parse().unwrap_or(0), 0)
                {
                    pieces[n].kind = Kind::Date;
                    pieces[month_at].kind = Kind::Date;
                    if let Some(at) = following(pieces, month_at)
                        && pieces[at].text.len() <= 2
                        && let Some(whole) =
                            Day::checked(year, u32::from(day.month), pieces[at].text.parse().unwrap_or(99))
                        // A number that ends the address is its id.
                        && pieces[at..].iter().skip(1).any(|piece| piece.kind == Kind::Number)
                    {
                        pieces[at].kind = Kind::Date;
                        day = whole;
                    }
                    found = finer(found, day);
                }
            }
            12 | 14 | 17 => {
                // A moment is as good as an id.
                found = Day::of_digits(&text[..8]).map_or(found, |day| finer(found, day));
            }
            _ => {}
        }
    }
    found
}

/// The first, unless only the second says the day.
fn finer(first: Option<Day>, second: Day) -> Option<Day> {
    Some(first.filter(|first| first.day > 0 || second.day == 0).unwrap_or(second))
}

/// The number that follows with nothing but `/`, `-`, `_` or `.` between.
fn following(pieces: &[Piece<'_>], n: usize) -> Option<usize> {
    let (here, next) = (pieces[n], pieces.get(n + 1)?);
    if next.kind == Kind::Number && next.segment == here.segment + 1 {
        return Some(n + 1);
    }
    let after = pieces.get(n + 2)?;
    let separated = matches!(next.text, "-" | "_" | ".") && next.segment == here.segment;
    (separated && after.kind == Kind::Number && after.segment == here.segment).then_some(n + 2)
}

/// The column: words and numbers of the first segments, without days, and the parameters that name columns.
fn folder(host: &str, pieces: &[Piece<'_>], end: usize, params: &[(&str, &str)]) -> String {
    let mut text = host.to_owned();
    let mut at = usize::MAX;
    for piece in pieces.iter().filter(|piece| piece.segment < end && piece.kind != Kind::Date) {
        if piece.segment != at {
            text.push('/');
            at = piece.segment;
        }
        text.push_str(piece.text);
    }
    for (name, value) in params.iter().filter(|(name, _)| is_column_name(name)) {
        text.push_str(&format!("?{name}={value}"));
    }
    text
}

/// Percent escapes decoded, where that is UTF-8.
fn decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut n = 0;
    while n < bytes.len() {
        let hex = bytes.get(n + 1..n + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.filter(|_| bytes[n] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) if byte > 0x20 && !b"%/?#&=".contains(&byte) => {
                out.push(byte);
                n += 3;
            }
            _ => {
                out.push(bytes[n]);
                n += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}

const MAX_SEGMENTS: usize = 24;
const MAX_PIECES: usize = 48;

/// Longer words of a last part are the title in letters, and no program's name.
const MAX_WORD: usize = 14;

const INDEX: &[&str] = &["index", "default", "main", "home", "list", "node", "shouye", ""];

const COLUMN_NAMES: &[&str] = &[
    "class", "cat", "channel", "column", "col", "type", "sort", "lm", "node", "group", "dept", "unit", "site", "page",
    "tid", "nid", "menu", "root", "parent", "area",
];

const LIST_WORDS: &[&str] = &[
    "list", "col", "column", "channel", "class", "category", "catalog", "more", "lanmu", "lm", "search", "index",
    "node", "sort", "type", "tag", "page",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_apart() {
        let case = |url: &str| {
            let shape = Shape::of(url);
            let day = shape.day.map_or(String::new(), |day| format!("{}-{}-{}", day.year, day.month, day.day));
            format!("{} {:?} {} {day}", shape.family, shape.ids, shape.folder)
        };
        let cases = [
            ("/art/2018/10/26/art_70739_6714054.html", "/art_#_#.html [70739, 6714054] /art 2018-10-26"),
            ("/xxgk/tzgg/201212/t20121210_4862855.html", "/t%_#.html [4862855] /xxgk/tzgg 2012-12-10"),
            ("/info/9031/791692.htm", "/#.htm [791692] /info/9031 "),
            ("/news/show.asp?id=0077", "/show.asp&id=# [77] /news "),
            ("/index.php?m=content&catid=82&id=17577", "/index.php&catid=#&id=#&m [82, 17577] ?catid=82 "),
            ("/gkmlpt/content/3/3774/post_3774882.html", "/post_#.html [3774882] /gkmlpt/content/3/3774 "),
            ("https://www.q.example/jyj/c12/i77.html", "/i#.html [77] www.q.example/jyj/c12 "),
            ("/n1146290/n4388791/c5781140/content.html", "/c#/content.html [5781140] /n1146290/n4388791 "),
            ("/2012/1210/123.html", "/#.html [123]  2012-12-10"),
            ("/zwgk/tzgg/", " [] /zwgk/tzgg "),
            ("/zwgk/tzgg/index.html", " [] /zwgk/tzgg "),
            ("/", " []  "),
            ("", " []  "),
        ];
        for (url, expected) in cases {
            assert_eq!(case(url), expected, "{url}");
        }
        assert!(Shape::of("/d/?InfoID=0b1c2d3e-0000-1111-2222-333344445555").ids[0] & TEXT != 0);
    }

    #[test]
    fn odd_addresses_are_harmless() {
        for url in ["?", "://", "/%", "/%zz%4", "/科普/%E7%A7", "/1/2/3/4/5/6", "?=&=&a=", "/20121310.html", "//.//.."]
        {
            Shape::of(url);
        }
        Shape::of(&"/1a".repeat(100_000));
        Shape::of(&format!("/{}", "9".repeat(100_000)));
    }
}
