//! A made-up survey of 127 sites, filled in as people do: titles, merged cells, numbers, full-width characters, several
//! domains in a cell. With or without the contradictions of a first version.

use rust_xlsxwriter::{DocProperties, ExcelDateTime, Format, Workbook, XlsxError};

/// The sites of four places: a portal and three that stay with it, and 28 bureaus that close (one place lacks one).
const PLACES: [(&str, &str); 4] = [
    ("澜江市", "lanjiang.example"),
    ("青山县", "qingshan.example"),
    ("云和县", "yunhe.lanjiang.example"),
    ("白水县", "baishui.lanjiang.example"),
];

const STAYING: [(&str, &str); 4] =
    [("人民政府", "www"), ("人大常委会", "rd"), ("人民法院", "fy"), ("人民检察院", "jcy")];

const BUREAUS: [(&str, &str); 28] = [
    ("教育局", "jyj"),
    ("林业局", "lyj"),
    ("水利局", "slj"),
    ("卫生局", "wsj"),
    ("财政局", "czj"),
    ("审计局", "sjj"),
    ("统计局", "tjj"),
    ("民政局", "mzj"),
    ("司法局", "sfj"),
    ("公安局", "gaj"),
    ("农业局", "nyj"),
    ("交通局", "jtj"),
    ("文化局", "whj"),
    ("体育局", "tyj"),
    ("旅游局", "lvj"),
    ("环保局", "hbj"),
    ("气象局", "qxj"),
    ("档案局", "daj"),
    ("粮食局", "lsj"),
    ("物价局", "wjj"),
    ("商务局", "swj"),
    ("地税局", "dsj"),
    ("国土局", "gtj"),
    ("规划局", "ghj"),
    ("房产局", "fcj"),
    ("安监局", "ajj"),
    ("质监局", "zjj"),
    ("扶贫办", "fpb"),
];

pub const HEADINGS: [&str; 11] = [
    "序号",
    "网站名称\n（必填）",
    "主办单位",
    "网站标识码",
    "首页网址",
    "其他域名",
    "处理意见",
    "批次",
    "迁移去向",
    "填报日期",
    "备注",
];

/// What a cell holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Text(String),
    Number(f64),
    Date(u16, u8, u8),
}

/// The rows of the sites, in order.
pub fn rows(with_faults: bool) -> Vec<Vec<Cell>> {
    let mut random = Random(8);
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for (place, (area, domain)) in PLACES.iter().enumerate() {
        for (body, name) in STAYING {
            let number = rows.len() + 1;
            let host = random.spelled(&format!("{name}.{domain}"));
            let said = random.one(&["保留", "继续保留", "保 留"]);
            let owner = format!("{area}人民政府办公室");
            rows.push(row(number, &format!("{area}{body}"), &owner, &mut random, &host, "", said, None, "", ""));
        }
        for (bureau, (body, name)) in BUREAUS.iter().enumerate() {
            if (place, bureau) == (3, 27) {
                continue;
            }
            let number = rows.len() + 1;
            let host = random.spelled(&match (place, bureau) {
                (2, 5) => "10.20.30.41:8081".to_owned(),
                _ => format!("{name}.{domain}"),
            });
            let more = match random.below(6) {
                0 => format!("www.{name}.{domain}"),
                1 => format!("www.{name}.{domain}、m.{name}.{domain}"),
                2 => format!("http://{name}-old.{domain}/；www.{name}.{domain}."),
                3 if bureau == 4 => format!("{body}.{area}.政务"),
                4 => format!("www.{name}.{domain}\nwap.{name}.{domain}"),
                _ => random.one(&["", "", "无"]).to_owned(),
            };
            let said = random.one(&["关停", "关停并入", "整合迁移", "关停（并入门户）", "关 停"]);
            let home = match random.below(4) {
                0 => format!("www.{domain}/{name}/"),
                _ => format!("https://www.{domain}/{name}/"),
            };
            let remark = random.one(&["", "", "", "有视频", "含\"在线办事\"，需保留接口", "=已核实"]);
            let owner = format!("{area}{body}");
            rows.push(row(number, &owner, &owner, &mut random, &host, &more, said, Some(bureau % 3), &home, remark));
        }
    }
    if with_faults {
        add_faults(&mut rows);
    }
    rows
}

/// How many rows are bad with faults, and how many of them are added.
pub const FAULTS: (usize, usize) = (9, 2);

fn add_faults(rows: &mut Vec<Vec<Cell>>) {
    let set = |rows: &mut Vec<Vec<Cell>>, row: usize, column: usize, text: &str| {
        rows[row][column] = Cell::Text(text.to_owned())
    };
    let text = |rows: &Vec<Vec<Cell>>, row: usize, column: usize| match &rows[row][column] {
        Cell::Text(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    set(rows, 10, 4, "建设中");
    set(rows, 12, 4, "sjj lanjiang.example");
    set(rows, 40, 6, "");
    set(rows, 44, 7, "待定");
    // The same host on two rows.
    let other = text(rows, 50, 4);
    set(rows, 51, 5, &other);
    // Once more, the same; and once more, but kept.
    let same = rows[60].clone();
    rows.push(same);
    let mut kept = rows[70].clone();
    kept[1] = Cell::Text("另一名单".to_owned());
    kept[6] = Cell::Text("保留".to_owned());
    kept[7] = Cell::Text(String::new());
    kept[3] = Cell::Text(String::new());
    rows.push(kept);
}

#[expect(clippy::too_many_arguments, reason = "a row has that many columns")]
fn row(
    number: usize,
    name: &str,
    owner: &str,
    random: &mut Random,
    host: &str,
    more: &str,
    said: &str,
    wave: Option<usize>,
    home: &str,
    remark: &str,
) -> Vec<Cell> {
    let text = |text: &str| Cell::Text(text.to_owned());
    let code = 4_300_000_000_u64 + 7 * number as u64;
    let code = if random.below(2) == 0 { Cell::Number(code as f64) } else { Cell::Text(code.to_string()) };
    let wave = match wave {
        Some(wave) => match random.below(4) {
            0 => Cell::Number((wave + 1) as f64),
            1 => Cell::Text(format!(" {} ", wave + 1)),
            2 => Cell::Text(format!("第{}批", ["一", "二", "三"][wave])),
            _ => Cell::Text(["一", "二", "三"][wave].to_owned()),
        },
        None => text(""),
    };
    let day = match random.below(3) {
        0 => Cell::Date(2025, 9, 1 + random.below(28) as u8),
        1 => text("2025.9.3"),
        _ => text("2025年9月"),
    };
    let number = Cell::Number(number as f64);
    vec![number, text(name), text(owner), code, text(host), text(more), text(said), wave, text(home), day, text(remark)]
}

/// The workbook: a sheet of explanations, and one with two titles, the headings, the rows, and a sum at the end.
pub fn workbook(with_faults: bool) -> Result<Vec<u8>, XlsxError> {
    let mut book = Workbook::new();
    // Always the same bytes.
    let made = ExcelDateTime::from_ymd(2025, 11, 3)?;
    book.set_properties(&DocProperties::new().set_creation_datetime(&made));
    let notes = book.add_worksheet().set_name("填表说明")?;
    notes.write_string(0, 0, "一、每个网站填一行。")?;
    notes.write_string(1, 0, "二、网址填写首页网址。")?;
    let sheet = book.add_worksheet().set_name("网站普查表")?;
    let (plain, dates) = (Format::new(), Format::new().set_num_format("yyyy-mm-dd"));
    sheet.merge_range(0, 0, 0, 10, "澜江市政府网站普查表", &plain)?;
    sheet.write_string(1, 0, "填报单位：澜江市人民政府办公室")?;
    for (column, heading) in (0..).zip(HEADINGS) {
        sheet.write_string(2, column, heading)?;
    }
    let rows = rows(with_faults);
    for (row, cells) in (3..).zip(&rows) {
        for (column, cell) in (0..).zip(cells) {
            match cell {
                Cell::Text(text) if text.is_empty() => {}
                Cell::Text(text) => drop(sheet.write_string(row, column, text)?),
                Cell::Number(number) => drop(sheet.write_number(row, column, *number)?),
                Cell::Date(year, month, day) => {
                    let date = ExcelDateTime::from_ymd(*year, *month, *day)?;
                    sheet.write_datetime_with_format(row, column, &date, &dates)?;
                }
            }
        }
    }
    // The owner of a place's first four sites is written once.
    for place in 0..4 {
        let first = 3 + place * 32;
        let Cell::Text(owner) = &rows[place as usize * 32][2] else { continue };
        sheet.merge_range(first, 2, first + 3, 2, owner, &plain)?;
    }
    let end = 3 + rows.len() as u32;
    sheet.write_string(end, 0, "合计")?;
    sheet.write_number(end, 1, 127.0)?;
    book.save_to_buffer()
}

/// The same rows as CSV.
pub fn csv(with_faults: bool) -> String {
    let field = |cell: &Cell| match cell {
        Cell::Text(text) => format!("\"{}\"", text.replace('"', "\"\"")),
        Cell::Number(number) => number.to_string(),
        Cell::Date(year, month, day) => format!("{year}/{month}/{day}"),
    };
    let line = |cells: &[Cell]| cells.iter().map(field).collect::<Vec<_>>().join(",") + "\r\n";
    let headings: Vec<Cell> = HEADINGS.iter().map(|heading| Cell::Text((*heading).to_owned())).collect();
    [&headings].into_iter().chain(&rows(with_faults)).map(|row| line(row)).collect()
}

/// Pseudo-random numbers, the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// A host as somebody types it.
    fn spelled(&mut self, host: &str) -> String {
        match self.below(7) {
            0 => format!("http://{host}/"),
            1 => format!("HTTP://{}", host.to_uppercase()),
            2 => host
                .chars()
                .map(|c| char::from_u32(c as u32 + 0xfee0).filter(|_| c.is_ascii_graphic()).unwrap_or(c))
                .collect(),
            3 => format!("　{host} "),
            4 => format!("https://{host}/index.html"),
            _ => host.to_owned(),
        }
    }
}
