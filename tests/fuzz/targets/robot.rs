//! What other servers say to the robot: pages and robots.txt, whatever their bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost::robot::{Document, robots::Rules};

fuzz_target!(|data: &[u8]| {
    let (head, body) = data.split_at(data.len().min(24));
    let content_type = String::from_utf8_lossy(head);
    for content_type in ["text/html", &content_type] {
        let document = Document::read(body, content_type);
        assert!(document.title.is_none_or(|title| title.chars().count() <= 300));
    }
    let rules = Rules::parse(body, "waypost");
    let _ = (rules.permission("/"), rules.permission(&content_type), rules.delay());
});
