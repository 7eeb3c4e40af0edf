//! Logs of other servers, in whatever format they are taken for: no line panics, and what is read of one is part of it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost::replay::format::{Format, Json, LineScratch, NoLine, Pattern};

fuzz_target!(|data: &[u8]| {
    let is_known = |host: &[u8]| host.ends_with(b".example");
    let mut scratch = LineScratch::default();
    if let Some(format) = Format::detect(data, &is_known) {
        for line in data.split(|&byte| byte == b'\n') {
            check(&format, line, &mut scratch);
            if let Some(next) = format.after(line) {
                check(&next, line, &mut scratch);
            }
        }
    }
    if let Some(format) = Format::detect_urls(data) {
        data.split(|&byte| byte == b'\n').for_each(|line| check(&format, line, &mut scratch));
    }
    // The first line as a format, for those that follow.
    let mut lines = data.split(|&byte| byte == b'\n');
    let pattern = str::from_utf8(lines.next().unwrap_or_default()).ok().and_then(|text| Pattern::parse(text).ok());
    let given = [Pattern::combined(), Pattern::vhost(), Pattern::vhost_last(&[true], false)].into_iter().chain(pattern);
    let formats: Vec<Format> = given.map(Format::Text).chain([Format::Json(Json)]).collect();
    for line in lines {
        formats.iter().for_each(|format| check(format, line, &mut scratch));
    }
});

fn check(format: &Format, line: &[u8], scratch: &mut LineScratch) {
    match format.read(line, scratch) {
        Ok(read) => {
            assert!(!read.target.is_empty() && read.method.is_ascii() && read.status < 1000);
            // A path and a query get a `?`, and each `+` of IIS three bytes.
            assert!(read.target.len() <= 3 * line.len() + 1);
            let _ = read.moment.seconds();
        }
        Err(NoLine::Comment) => assert!(line.trim_ascii().first().is_none_or(|&byte| byte == b'#')),
        Err(NoLine::NoRequest | NoLine::Unreadable(_)) => {}
    }
}
