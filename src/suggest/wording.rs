//! Titles: what two of them have in common, and which page has one that says the same.
//!
//! What is common to many titles of a source (the site's name, `[图文]`) says nothing and is cut. Numbers are what tells the
//! announcement of this year from that of the last one, so they must be equal, whatever else is alike.

use std::collections::{HashMap, HashSet};

use super::shape::hashed;

/// A title, ready to be compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wording {
    /// Letters and digits, without case, width, spaces and punctuation.
    text: String,
    /// The numbers in it, in their order.
    numbers: Vec<String>,
    /// Hashes of neighbouring characters, sorted.
    pairs: Vec<u32>,
}

/// Normalises the titles of one source.
pub(super) fn wordings<'a>(titles: impl Iterator<Item = Option<&'a str>> + Clone) -> Vec<Option<Wording>> {
    let mut often: HashMap<String, usize> = HashMap::new();
    let mut all = 0;
    for title in titles.clone().flatten() {
        all += 1;
        let parts: HashSet<String> = parts(title).into_iter().map(|part| plain(&part)).collect();
        parts.into_iter().for_each(|part| *often.entry(part).or_default() += 1);
    }
    let common = |part: &str| often.get(part).is_some_and(|&count| count >= 5.max(all / 25));
    titles
        .map(|title| {
            let parts = parts(title?);
            let own: String =
                parts.iter().map(|part| plain(part)).filter(|part| !common(part)).collect::<Vec<_>>().concat();
            let text = if own.is_empty() { plain(title?) } else { own };
            (!text.is_empty()).then(|| Wording::new(text))
        })
        .collect()
}

impl Wording {
    fn new(text: String) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let mut pairs: Vec<u32> = chars
            .windows(2)
            .map(|pair| (pair[0] as u32).wrapping_mul(0x9E37_79B1).rotate_left(13) ^ pair[1] as u32)
            .collect();
        pairs.sort_unstable();
        Wording { numbers: numbers(&chars), text, pairs }
    }

    /// From 0 (nothing in common) to 1.
    pub fn likeness(&self, other: &Wording) -> f64 {
        if self.text == other.text {
            return 1.0;
        }
        let (mut a, mut b, mut same) = (self.pairs.iter().peekable(), other.pairs.iter().peekable(), 0);
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            match x.cmp(y) {
                std::cmp::Ordering::Less => drop(a.next()),
                std::cmp::Ordering::Greater => drop(b.next()),
                std::cmp::Ordering::Equal => {
                    same += 1;
                    a.next();
                    b.next();
                }
            }
        }
        let all = self.pairs.len() + other.pairs.len();
        if all == 0 { 0.0 } else { 2.0 * f64::from(same) / all as f64 }
    }

    /// How much they have in common in the same order: of both together, and of the shorter one.
    pub fn order(&self, other: &Wording) -> (f64, f64) {
        let (a, b): (Vec<char>, Vec<char>) = (self.text.chars().collect(), other.text.chars().collect());
        let mut row = vec![0u32; b.len() + 1];
        for x in &a {
            let mut corner = 0;
            for (n, y) in b.iter().enumerate() {
                let above = row[n + 1];
                row[n + 1] = if x == y { corner + 1 } else { above.max(row[n]) };
                corner = above;
            }
        }
        let common = f64::from(row[b.len()]);
        (2.0 * common / (a.len() + b.len()).max(1) as f64, common / a.len().min(b.len()).max(1) as f64)
    }

    /// Whether they name the same numbers.
    pub fn same_numbers(&self, other: &Wording) -> bool {
        self.numbers == other.numbers
    }

    /// How many characters it has.
    pub fn length(&self) -> usize {
        self.text.chars().count()
    }

    /// What equal titles have in common.
    pub fn key(&self) -> u64 {
        hashed(&self.text)
    }
}

/// Finds wordings that are like another.
pub(super) struct Index<'a> {
    all: &'a [Option<Wording>],
    equal: HashMap<u64, Vec<u32>, foldhash::fast::FixedState>,
    pairs: HashMap<u32, Vec<u32>, foldhash::fast::FixedState>,
}

/// The pages whose titles are most like a given one.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Alike {
    /// Those with exactly the same title; at most [`MOST_EQUAL`], and how many there are.
    pub equal: Vec<u32>,
    pub equal_count: usize,
    /// The best of the others that names the same numbers, how alike it is, and how much of the shorter title is in both.
    pub best: Option<(u32, f64, f64)>,
    /// How alike the next is, whatever its numbers.
    pub second: f64,
}

/// How many pages with the same title are looked at.
pub(super) const MOST_EQUAL: usize = 8;

impl<'a> Index<'a> {
    pub fn new(all: &'a [Option<Wording>]) -> Self {
        let mut index = Index { all, equal: HashMap::default(), pairs: HashMap::default() };
        for (number, wording) in (0u32..).zip(all) {
            let Some(wording) = wording else { continue };
            index.equal.entry(wording.key()).or_default().push(number);
            let mut before = None;
            for &pair in wording.pairs.iter().filter(|&&pair| before.replace(pair) != Some(pair)) {
                let list = index.pairs.entry(pair).or_default();
                // One more than is ever looked at.
                if list.len() <= MOST_OF_A_PAIR {
                    list.push(number);
                }
            }
        }
        index
    }

    pub fn alike(&self, wording: &Wording) -> Alike {
        let equal = self.equal.get(&wording.key()).map_or(&[][..], Vec::as_slice);
        let equal: Vec<u32> = equal
            .iter()
            .copied()
            .filter(|&n| self.all[n as usize].as_ref().is_some_and(|w| w.text == wording.text))
            .collect();
        let mut alike = Alike { equal_count: equal.len(), ..Alike::default() };
        alike.equal = equal.into_iter().take(MOST_EQUAL).collect();
        if !alike.equal.is_empty() || wording.length() < SHORTEST {
            return alike;
        }
        let mut lists: Vec<&Vec<u32>> = Vec::new();
        let mut before = None;
        for pair in wording.pairs.iter().filter(|&&pair| before.replace(pair) != Some(pair)) {
            lists.extend(self.pairs.get(pair).filter(|list| list.len() <= MOST_OF_A_PAIR));
        }
        lists.sort_by_key(|list| list.len());
        let mut votes: HashMap<u32, u32, foldhash::fast::FixedState> = HashMap::default();
        for list in lists.iter().take(RAREST) {
            list.iter().for_each(|&number| *votes.entry(number).or_default() += 1);
        }
        let mut votes: Vec<(u32, u32)> = votes.into_iter().collect();
        votes.sort_unstable_by_key(|&(number, votes)| (std::cmp::Reverse(votes), number));
        let mut scored: Vec<(f64, u32, bool)> = votes
            .into_iter()
            .take(MOST_SCORED)
            .filter_map(|(number, _)| {
                let other = self.all[number as usize].as_ref()?;
                Some((wording.likeness(other), number, wording.same_numbers(other)))
            })
            .collect();
        scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        // Those with other numbers are other announcements of the kind: they are no rivals.
        scored.retain(|(_, _, same)| *same);
        scored.truncate(4);
        let ordered = scored.iter().filter_map(|&(likeness, number, _)| {
            let (both, shorter) = wording.order(self.all[number as usize].as_ref()?);
            Some((likeness.min(both), number, shorter))
        });
        let mut ordered: Vec<(f64, u32, f64)> = ordered.collect();
        ordered.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        alike.best = ordered.first().map(|&(likeness, number, shorter)| (number, likeness, shorter));
        alike.second = ordered.get(1).map_or(0.0, |(likeness, ..)| *likeness);
        alike
    }
}

/// A pair of characters that more titles have finds nothing.
const MOST_OF_A_PAIR: usize = 400;
/// How many of a title's rarest pairs are looked up.
const RAREST: usize = 8;
const MOST_SCORED: usize = 40;
/// Shorter titles must be equal.
const SHORTEST: usize = 6;
/// No title is longer, in characters.
const LONGEST: usize = 200;

/// A title, cut where separators stand.
fn parts(title: &str) -> Vec<String> {
    let title: String = title.chars().take(LONGEST).collect();
    let is_separator = |c: char| {
        matches!(c, '_' | '|' | '｜' | '－' | '—' | '–' | '>' | '»' | '[' | ']' | '【' | '】' | '«' | '<' | '·' | '-')
    };
    title.split(is_separator).map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

/// Letters and digits alone, in lower case and usual width; entities of HTML decoded.
fn plain(text: &str) -> String {
    let text = if text.contains('&') {
        text.replace("&nbsp;", " ")
            .replace("&quot;", "\"")
            .replace("&ldquo;", "")
            .replace("&rdquo;", "")
            .replace("&amp;", "&")
    } else {
        text.to_owned()
    };
    let narrow = |c: char| match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(c as u32 - 0xFEE0).unwrap_or(c),
        '〇' => '零',
        _ => c,
    };
    text.chars().map(narrow).filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The numbers of a title: digits, years in Chinese digits, and Chinese numerals that count something.
fn numbers(chars: &[char]) -> Vec<String> {
    let digit = |c: char| "零一二三四五六七八九".chars().position(|d| d == c);
    let is_numeral = |c: char| digit(c).is_some() || matches!(c, '十' | '百');
    let mut out = Vec::new();
    let mut n = 0;
    while n < chars.len() {
        let from = n;
        if chars[n].is_ascii_digit() {
            while n < chars.len() && chars[n].is_ascii_digit() {
                n += 1;
            }
            let text: String = chars[from..n].iter().collect();
            out.push(text.trim_start_matches('0').to_owned());
        } else if is_numeral(chars[n]) {
            while n < chars.len() && is_numeral(chars[n]) {
                n += 1;
            }
            let counts = n - from > 1
                || from > 0 && chars[from - 1] == '第'
                || chars.get(n).is_some_and(|c| "年月日号届次批期季个册章条".contains(*c));
            if counts {
                out.push(reckoned(&chars[from..n]));
            }
        } else {
            n += 1;
        }
    }
    out
}

/// A Chinese number in digits: `二零一八` is 2018, `十二` is 12, `三十` is 30.
fn reckoned(chars: &[char]) -> String {
    let digit = |c: char| "零一二三四五六七八九".chars().position(|d| d == c).unwrap_or(0) as u64;
    if !chars.iter().any(|c| matches!(c, '十' | '百')) {
        let digits: String = chars.iter().map(|&c| digit(c).to_string()).collect();
        return digits.trim_start_matches('0').to_owned();
    }
    let (mut sum, mut last) = (0u64, None);
    for &c in chars {
        match c {
            '十' => sum = sum.saturating_add(last.take().unwrap_or(1) * 10),
            '百' => sum = sum.saturating_add(last.take().unwrap_or(1) * 100),
            _ => last = Some(digit(c)),
        }
    }
    sum.saturating_add(last.unwrap_or(0)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(title: &str) -> Wording {
        wordings([Some(title)].into_iter()).remove(0).unwrap()
    }

    #[test]
    fn titles_are_the_same_however_they_are_written() {
        for (a, b) in [
            ("关于２０１８年“春节”放假的通知", "关于2018年 春节 放假的通知"),
            ("二〇一八年工作要点（试行）", "二○一八年工作要点(试行)"),
            ("A&nbsp;B", "a b"),
        ] {
            let (a, b) = (one(&a.replace('○', "〇")), one(&b.replace('○', "〇")));
            assert_eq!(a.text, b.text);
        }
        assert_eq!(one("二〇一八年第十二次会议").numbers, one("2018年第12次会议").numbers);
        assert!(!one("2017年第三批名单").same_numbers(&one("2017年第四批名单")));
        assert_eq!(one("统一思想").numbers, Vec::<String>::new());
    }

    #[test]
    fn what_many_titles_have_is_cut() {
        let titles: Vec<String> = (0..50).map(|n| format!("[图文]第{n}号公告公示_青山县教育局 - 通知")).collect();
        let all = wordings(titles.iter().map(|title| Some(title.as_str())));
        assert_eq!(all[7].as_ref().unwrap().text, "第7号公告公示");
        let index = Index::new(&all);
        let alike = index.alike(&one("第7号公告公示"));
        assert_eq!((alike.equal, alike.equal_count), (vec![7], 1));
    }

    #[test]
    fn the_nearest_is_found_and_numbers_count() {
        let titles = [
            "关于做好2017年秋季招生工作的通知",
            "关于做好2018年秋季招生工作的通知",
            "县教育局开展消防演练",
            "学校食堂检查情况",
        ];
        let all = wordings(titles.iter().map(|title| Some(*title)));
        let index = Index::new(&all);
        let alike = index.alike(&one("县教育局关于做好2018年秋季招生工作通知"));
        assert_eq!(alike.best.map(|(n, ..)| n), Some(1));
        assert!(alike.second < 0.5);
        assert_eq!(index.alike(&one("关于做好2019年秋季招生工作的通知")).best, None);
        index.alike(&one(&"长".repeat(10_000)));
    }
}
