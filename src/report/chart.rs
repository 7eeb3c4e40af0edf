//! Charts as SVG, within the page: no script, no font of their own, legible in black and white.

use super::page::{escaped, number};

/// A row of a bar chart.
pub(super) struct Bar {
    /// What it is of.
    pub label: String,
    /// How long it is, of the chart's largest.
    pub value: u64,
    /// The value for people.
    pub text: String,
    /// Whether it is bad.
    pub is_bad: bool,
}

/// What every chart has.
pub(super) struct Frame<'a> {
    /// Unique on the page.
    pub id: &'a str,
    /// What it shows, in a line.
    pub title: &'a str,
    /// What it shows, for who can't see it.
    pub about: &'a str,
}

/// Bars from the left, each under its label; `mark` is a line at a value, with its name.
pub(super) fn bars(frame: &Frame<'_>, rows: &[Bar], max: u64, mark: Option<(u64, &str)>) -> String {
    let top = if mark.is_some() { 24 } else { 6 };
    let height = top + ROW * rows.len();
    let across = |value: u64| (u128::from(value.min(max)) * WIDTH as u128 / u128::from(max.max(1))) as u64;
    let mut out = String::new();
    for (at, row) in rows.iter().enumerate() {
        let y = top + ROW * at;
        let class = if row.is_bad { "bad" } else { "good" };
        // The value comes first, so that it is seen where the page is narrow.
        out += &format!(
            "<text x=\"0\" y=\"{}\"><tspan class=\"value\">{}</tspan> {}</text>\
             <rect class=\"track\" x=\"0\" y=\"{}\" width=\"{WIDTH}\" height=\"12\"/>",
            y + 13,
            escaped(&row.text),
            escaped(&clipped(&row.label, LABEL)),
            y + 19,
        );
        if row.value > 0 {
            let width = across(row.value).max(1);
            out += &format!("<rect class=\"{class}\" x=\"0\" y=\"{}\" width=\"{width}\" height=\"12\"/>", y + 19);
        }
        out.push('\n');
    }
    if let Some((value, name)) = mark {
        let x = across(value);
        let anchor = if x > WIDTH as u64 / 2 { "end" } else { "start" };
        out += &format!(
            "<line class=\"mark\" x1=\"{x}\" y1=\"{}\" x2=\"{x}\" y2=\"{height}\"/><text x=\"{x}\" y=\"13\" text-anchor=\"{anchor}\">{}</text>\n",
            top - 6,
            escaped(name)
        );
    }
    framed(frame, height, &out)
}

/// A column of a chart over time: the whole, and the part at its foot.
pub(super) struct Column {
    /// What stands under it.
    pub label: String,
    /// The whole.
    pub whole: u64,
    /// Its part.
    pub part: u64,
}

/// Columns over time.
pub(super) fn columns(frame: &Frame<'_>, rows: &[Column], whole: &str, part: &str) -> String {
    let max = nice(rows.iter().map(|row| row.whole).max().unwrap_or(0));
    // A digit is some 9 wide.
    let left = (number(max).len() * 9 + 12).max(72);
    let (top, room) = (30, 190);
    let width = (WIDTH - left) / rows.len().max(1);
    let down = |value: u64| (room as u128 * u128::from(value) / u128::from(max)) as usize;
    let mut out = format!(
        "<rect class=\"good\" x=\"{left}\" y=\"4\" width=\"12\" height=\"12\"/><text x=\"{}\" y=\"15\">{}</text>\
         <rect class=\"bad\" x=\"{}\" y=\"4\" width=\"12\" height=\"12\"/><text x=\"{}\" y=\"15\">{}</text>\n",
        left + 18,
        escaped(whole),
        left + 268,
        left + 286,
        escaped(part),
    );
    for step in 0..=4 {
        let value = max / 4 * step;
        let y = top + room - down(value);
        out += &format!(
            "<line class=\"grid\" x1=\"{left}\" y1=\"{y}\" x2=\"{WIDTH}\" y2=\"{y}\"/><text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n",
            left - 6,
            y + 5,
            number(value)
        );
    }
    for (at, row) in rows.iter().enumerate() {
        let x = left + width * at + width / 10;
        let (all, low) = (down(row.whole), down(row.part.min(row.whole)));
        let (thick, base) = ((width * 4 / 5).max(1), top + room);
        out += &format!(
            "<rect class=\"good\" x=\"{x}\" y=\"{}\" width=\"{thick}\" height=\"{}\"/>",
            base - all,
            all - low
        );
        if low > 0 {
            out += &format!("<rect class=\"bad\" x=\"{x}\" y=\"{}\" width=\"{thick}\" height=\"{low}\"/>", base - low);
        }
        out += &format!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{}</text>\n",
            x + thick / 2,
            base + 18,
            escaped(&row.label)
        );
    }
    framed(frame, top + room + 28, &out)
}

/// A row of parts that make a whole.
pub(super) struct Parts {
    /// What it is of.
    pub label: String,
    /// Each part, in the order of the legend.
    pub parts: Vec<u64>,
    /// What stands before it.
    pub text: String,
}

/// Rows of parts, each as wide as the whole; `names` is the legend: at most five.
pub(super) fn parts(frame: &Frame<'_>, rows: &[Parts], names: &[&str]) -> String {
    let top = 30;
    let height = top + ROW * rows.len();
    let mut out = String::new();
    for (at, name) in names.iter().enumerate() {
        let x = WIDTH / names.len().max(1) * at;
        out += &format!(
            "<rect class=\"part{at}\" x=\"{x}\" y=\"4\" width=\"12\" height=\"12\"/><text x=\"{}\" y=\"15\">{}</text>\n",
            x + 18,
            escaped(name)
        );
    }
    for (at, row) in rows.iter().enumerate() {
        let y = top + ROW * at;
        out += &format!(
            "<text x=\"0\" y=\"{}\"><tspan class=\"value\">{}</tspan> {}</text>",
            y + 13,
            escaped(&row.text),
            escaped(&clipped(&row.label, LABEL))
        );
        let whole: u64 = row.parts.iter().sum::<u64>().max(1);
        let mut before = 0;
        for (number, &part) in row.parts.iter().enumerate().filter(|(_, part)| **part > 0) {
            let (from, to) = (WIDTH as u64 * before / whole, WIDTH as u64 * (before + part) / whole);
            // A gap tells parts from each other without colour.
            let width = (to - from).saturating_sub(2).max(1);
            out += &format!(
                "<rect class=\"part{number}\" x=\"{from}\" y=\"{}\" width=\"{width}\" height=\"12\"/>",
                y + 19
            );
            before += part;
        }
        out.push('\n');
    }
    framed(frame, height, &out)
}

fn framed(frame: &Frame<'_>, height: usize, inside: &str) -> String {
    let Frame { id, title, about } = frame;
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{title}\"><svg role=\"img\" aria-labelledby=\"{id}-t {id}-d\" \
         viewBox=\"0 0 {WIDTH} {height}\" xmlns=\"http://www.w3.org/2000/svg\"><title id=\"{id}-t\">{title}</title>\
         <desc id=\"{id}-d\">{about}</desc>\n{inside}</svg></div>\n",
        title = escaped(title),
        about = escaped(about),
    )
}

/// The next round number, of which a quarter is whole.
fn nice(most: u64) -> u64 {
    let mut step = 4;
    loop {
        for factor in [1, 2, 5] {
            if let Some(scale) = u64::checked_mul(step, factor).filter(|scale| *scale >= most) {
                return scale;
            }
        }
        let Some(next) = step.checked_mul(10) else { return u64::MAX / 4 * 4 };
        step = next;
    }
}

/// At most so many columns of text: Chinese characters take two.
fn clipped(text: &str, most: usize) -> String {
    use unicode_width::UnicodeWidthChar;
    let mut width = 0;
    for (at, c) in text.char_indices() {
        width += c.width().unwrap_or(0);
        if width > most {
            return format!("{}…", &text[..at]);
        }
    }
    text.to_owned()
}

/// Units across.
const WIDTH: usize = 720;

/// Units down of a row.
const ROW: usize = 38;

/// Columns of text of a label.
const LABEL: usize = 84;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_round() {
        for (most, want) in [(0, 4), (4, 4), (5, 8), (9, 20), (21, 40), (100, 200), (201, 400), (12_345, 20_000)] {
            assert_eq!(nice(most), want, "{most}");
        }
        assert!(nice(u64::MAX) > 0);
        assert_eq!(clipped("青山县教育局", 8), "青山县教…");
    }

    #[test]
    fn nothing_is_drawn_out_of_the_frame() {
        let frame = Frame { id: "x", title: "<t>", about: "a" };
        let bar = |value| Bar { label: "<b>".to_owned(), value, text: "&".to_owned(), is_bad: false };
        let drawn = bars(&frame, &[bar(0), bar(5), bar(u64::MAX / 2_000)], 5, Some((4, "m")));
        assert!(drawn.contains("&lt;b&gt;") && drawn.contains("aria-label=\"&lt;t&gt;\""), "{drawn}");
        assert!(!drawn.contains("width=\"721\""));
        columns(&frame, &[], "a", "b");
        let column = Column { label: "1".to_owned(), whole: 3, part: 9 };
        assert!(columns(&frame, &[column], "a", "b").contains("height=\"0\""));
        parts(&frame, &[Parts { label: String::new(), parts: vec![0, 0], text: String::new() }], &["a", "b"]);
    }
}
