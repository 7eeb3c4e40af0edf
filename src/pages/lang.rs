//! Which language a citizen reads.

/// A language that the pages are written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lang {
    /// Chinese in simplified characters, for whoever does not clearly ask for English.
    #[default]
    Zh,
    /// English.
    En,
}

impl Lang {
    /// Picks by the value of `Accept-Language` (RFC 9110, 12.5.4).
    ///
    /// Only the first subtag counts, so `zh-Hans-CN` and `zh-TW` ask for Chinese; of several ranges for one language the
    /// best weight counts; `*` speaks for a language that no other range names; a weight of 0 refuses. An item that can't be
    /// read is skipped. Chinese when the header is absent, empty or undecided: equal weights, or neither language named.
    pub fn negotiate(accept_language: Option<&str>) -> Lang {
        let (mut zh, mut en, mut any) = (None, None, None);
        for (range, weight) in accept_language.unwrap_or_default().split(',').filter_map(item) {
            let primary = range.split('-').next().unwrap_or_default();
            let best = if primary.eq_ignore_ascii_case("zh") {
                &mut zh
            } else if primary.eq_ignore_ascii_case("en") {
                &mut en
            } else if range == "*" {
                &mut any
            } else {
                continue;
            };
            *best = (*best).max(Some(weight));
        }
        if liking(en.or(any)) > liking(zh.or(any)) { Lang::En } else { Lang::Zh }
    }

    /// The language tag, for the `lang` attribute and `Content-Language`.
    pub fn tag(self) -> &'static str {
        match self {
            Lang::Zh => "zh-CN",
            Lang::En => "en",
        }
    }

    /// The language of the short line at the end of a page.
    pub(super) fn other(self) -> Lang {
        match self {
            Lang::Zh => Lang::En,
            Lang::En => Lang::Zh,
        }
    }
}

/// Refused comes last, not mentioned is better, mentioned is better still.
fn liking(weight: Option<u16>) -> u16 {
    match weight {
        Some(0) => 0,
        None => 1,
        Some(weight) => 1 + weight,
    }
}

/// One language range and its weight in thousandths; `None` if the weight is malformed.
fn item(text: &str) -> Option<(&str, u16)> {
    let Some((range, parameter)) = text.split_once(';') else {
        return Some((text.trim(), 1000));
    };
    let (name, value) = parameter.split_once('=')?;
    name.trim().eq_ignore_ascii_case("q").then_some((range.trim(), thousandths(value.trim())?))
}

/// A `qvalue` (RFC 9110, 12.4.2): 0 to 1 with at most three decimals.
fn thousandths(qvalue: &str) -> Option<u16> {
    let (whole, decimals) = qvalue.split_once('.').unwrap_or((qvalue, ""));
    if !matches!(whole, "0" | "1") || decimals.len() > 3 || !decimals.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: u16 = format!("{whole}{decimals:0<3}").parse().ok()?;
    (value <= 1000).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_follows_the_header() {
        for (header, want) in [
            // What browsers send.
            ("zh-CN,zh;q=0.9,en;q=0.8", Lang::Zh),
            ("en-US,en;q=0.9,zh-CN;q=0.8,zh;q=0.7", Lang::En),
            ("zh-Hans-CN", Lang::Zh),
            ("zh-TW, en;q=0.5", Lang::Zh),
            ("EN-gb", Lang::En),
            ("en", Lang::En),
            ("fr, en;q=0.5", Lang::En),
            (" en ; Q = 0.5 , zh ; q=0.4", Lang::En),
            // The best range of a language counts.
            ("zh-HK;q=0.1, en;q=0.5, zh;q=0.9", Lang::Zh),
            // A wildcard speaks for what is not named.
            ("*", Lang::Zh),
            ("fr, *;q=0.5", Lang::Zh),
            ("zh;q=0.3, *;q=0.5", Lang::En),
            ("en;q=0.3, *;q=0.5", Lang::Zh),
            // 0 refuses.
            ("zh;q=0", Lang::En),
            ("zh-CN;q=0.000, *", Lang::En),
            ("en;q=0", Lang::Zh),
            ("*;q=0", Lang::Zh),
            ("en, *;q=0", Lang::En),
            ("zh;q=0, en;q=0", Lang::Zh),
            // Undecided.
            ("", Lang::Zh),
            ("en, zh", Lang::Zh),
            ("ug, bo;q=0.5", Lang::Zh),
            ("enx, eng", Lang::Zh),
            // Malformed items are skipped.
            ("en;q=2", Lang::Zh),
            ("en;q=1.001", Lang::Zh),
            ("en;q=0.1234", Lang::Zh),
            ("en;q=-1", Lang::Zh),
            ("en;q=NaN", Lang::Zh),
            ("en;q=", Lang::Zh),
            ("en;q", Lang::Zh),
            ("en;level=1", Lang::Zh),
            ("en;", Lang::Zh),
            (",,;,;q=1,=,-,en-", Lang::En),
            ("\u{fffd};q=\u{ff11},中文", Lang::Zh),
        ] {
            assert_eq!(Lang::negotiate(Some(header)), want, "{header:?}");
        }
        assert_eq!(Lang::negotiate(None), Lang::Zh);
        assert_eq!(Lang::negotiate(Some(&"en;q=0.5,".repeat(10_000))), Lang::En);
    }
}
