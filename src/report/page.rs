//! The report as a page: one HTML file that asks nobody for anything, for screens and for paper.

use aws_lc_rs::digest::{SHA256, digest};
use base64::prelude::{BASE64_STANDARD, Engine};

use super::sections;
use super::{Lang, Report};

impl Lang {
    /// The word of this language.
    pub(super) fn pick(self, zh: &'static str, en: &'static str) -> &'static str {
        match self {
            Lang::Zh => zh,
            Lang::En => en,
        }
    }

    fn tag(self) -> &'static str {
        self.pick("zh-CN", "en")
    }
}

/// The whole page.
pub fn page(report: &Report, lang: Lang) -> String {
    let title = sections::title(report, lang);
    let hash = BASE64_STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let mut out = format!(
        "<!doctype html>\n<html lang=\"{}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        lang.tag(),
        escaped(&title),
    );
    sections::all(report, lang, &mut out);
    out += "</body>\n</html>\n";
    out
}

/// A text as HTML has it, in elements and attributes.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            // Controls, and what turns the direction of a text: citizens have written some of it.
            c if c.is_control()
                || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}') =>
            {
                out += &c.escape_unicode().to_string();
            }
            c => out.push(c),
        }
    }
    out
}

/// `12,345`.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// `95.12 %`, or a dash.
pub(super) fn percent(share: Option<u64>) -> String {
    share.map_or_else(|| "–".to_owned(), |share| format!("{}.{:02} %", share / 100, share % 100))
}

/// `1.25 s`, or a dash.
pub(super) fn seconds(millis: Option<u64>) -> String {
    millis.map_or_else(|| "–".to_owned(), |millis| format!("{}.{:02} s", millis / 1000, millis % 1000 / 10))
}

/// A cell of a table.
pub(super) enum Cell {
    /// Words.
    Text(String),
    /// A number, on the right.
    Number(String),
    /// A number or words that are bad, which is said in words too.
    Bad(String),
}

/// A table with a caption, in a frame that scrolls where it has no room. The first column names the row.
pub(super) fn table(out: &mut String, caption: &str, heads: &[&str], rows: &[Vec<Cell>]) {
    let caption = escaped(caption);
    *out += &format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table><caption>{caption}</caption><thead><tr>"
    );
    let first = rows.first();
    for (at, head) in heads.iter().enumerate() {
        let is_number = first.and_then(|row| row.get(at)).is_some_and(|cell| !matches!(cell, Cell::Text(_)));
        let class = if is_number { " class=\"n\"" } else { "" };
        *out += &format!("<th scope=\"col\"{class}>{}</th>", escaped(head));
    }
    *out += "</tr></thead><tbody>\n";
    for row in rows {
        *out += "<tr>";
        for (at, cell) in row.iter().enumerate() {
            *out += &match cell {
                Cell::Text(text) if at == 0 => format!("<th scope=\"row\">{}</th>", escaped(text)),
                Cell::Text(text) => format!("<td>{}</td>", escaped(text)),
                Cell::Number(text) => format!("<td class=\"n\">{}</td>", escaped(text)),
                Cell::Bad(text) => format!("<td class=\"n no\">{}</td>", escaped(text)),
            };
        }
        *out += "</tr>\n";
    }
    *out += "</tbody></table></div>\n";
}

/// Contrast is 7:1 or more; what is red is said in words too. On paper each row stays whole, and heads come again on each page.
const STYLE: &str = "
:root{color-scheme:light}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:62rem;background:#fff;color:#1a1a1a;font:16px/1.6 'PingFang SC','Microsoft YaHei','Noto Sans CJK SC','Source Han Sans SC',system-ui,sans-serif}
h1{font-size:1.7rem;line-height:1.3;margin:.5rem 0}
h2{font-size:1.3rem;margin:2.2rem 0 .4rem;padding-top:.6rem;border-top:2px solid #1a4480}
h3{font-size:1.05rem;margin:1.2rem 0 .3rem}
p,dd,li,h1,h2{overflow-wrap:anywhere}
p{margin:.4rem 0}
a{color:#1a4480}
a:focus-visible,.scroll:focus-visible{outline:3px solid #b45309;outline-offset:2px}
nav ul{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;margin:.5rem 0;padding:0;list-style:none}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(10rem,1fr));gap:.7rem;margin:1rem 0}
.tiles>div{border:1px solid #8a8a8a;border-radius:6px;padding:.5rem .8rem}
.tiles dt{font-size:.9rem}
.tiles dd{margin:0}
.tiles .big{font-size:1.3rem;font-weight:700;line-height:1.3}
.tiles .delta{font-size:.85rem;color:#454545}
.note{border-left:5px solid #b45309;background:#fff7ec;padding:.5rem .9rem;margin:.8rem 0}
.veto{border-left:5px solid #9b1c1c;background:#fdf1f1;padding:.5rem .9rem;margin:.8rem 0}
.scroll{overflow-x:auto;margin:.6rem 0}
table{border-collapse:collapse;width:100%;font-size:.9rem}
caption{text-align:left;font-weight:700;padding:.3rem 0}
th,td{border-bottom:1px solid #c4c4c4;padding:.3rem .5rem;text-align:left;vertical-align:top}
thead th{background:#e9eef5;border-bottom:2px solid #1a4480;white-space:nowrap}
tbody th{font-weight:400;overflow-wrap:anywhere;min-width:13rem}
td{overflow-wrap:anywhere;min-width:5.5rem}
td.n{min-width:0}
.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.no{color:#8b1414;font-weight:700}
svg{display:block;width:100%;min-width:40rem;max-width:100%;height:auto}
.scroll svg{max-width:50rem}
svg text{font-size:14px;fill:#1a1a1a;font-family:inherit}
svg .value{font-weight:700}
svg .track{fill:#ececec}
svg .good{fill:#1a4480}
svg .bad{fill:#b3261e}
svg .grid{stroke:#c4c4c4;stroke-width:1}
svg .mark{stroke:#1a1a1a;stroke-width:2;stroke-dasharray:5 4}
svg .part0{fill:#b3261e}svg .part1{fill:#d98e04}svg .part2{fill:#1a4480}svg .part3{fill:#2e7d6b}svg .part4{fill:#6b6b6b}
footer{margin-top:2.5rem;border-top:1px solid #8a8a8a;font-size:.9rem}
@media print{
@page{size:A4;margin:14mm 12mm 16mm}
body{max-width:none;padding:0;font-size:10pt;line-height:1.45}
nav{display:none}
h1{font-size:17pt}h2{font-size:13pt;break-after:avoid}h3,caption{break-after:avoid}
.scroll{overflow:visible}
table{font-size:8.5pt}
tbody th,td{min-width:0}
thead{display:table-header-group}
tr,svg,.tiles>div,.note,.veto{break-inside:avoid}
thead,section>p:has(+.scroll){break-after:avoid}
tbody tr:first-child,footer{break-before:avoid}
footer{margin-top:1rem}
svg,.scroll svg{min-width:0;max-width:100%}
svg,table,.tiles>div,thead th{print-color-adjust:exact;-webkit-print-color-adjust:exact}
a{color:inherit;text-decoration:none}
}
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_numbers() {
        assert_eq!(escaped("<a href='x'>&\u{202e}\u{7}"), "&lt;a href=&#39;x&#39;&gt;&amp;\\u{202e}\\u{7}");
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(
            (percent(Some(9_990)), percent(Some(5)), percent(None)),
            ("99.90 %".into(), "0.05 %".into(), "–".into())
        );
        assert_eq!((seconds(Some(3_001)), seconds(None)), ("3.00 s".to_owned(), "–".to_owned()));
    }
}
