//! The report in a real browser: what is legible, what fits, what is printed, and that everybody can read it (axe-core).
//!
//! It and pictures of it are left in `target/report`.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use super::sample;
use crate::browser::Browser;

fn target() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target")).join("report")
}

fn skipped(why: &str) {
    // Past the test harness, which keeps to itself what a test says that passes.
    let _ = writeln!(io::stderr(), "skipped: {why}");
}

#[test]
fn the_report_is_read_by_everybody() {
    if !Browser::is_installed() {
        return skipped("chromium and chromedriver are not on the PATH");
    }
    let axe = fs::read_to_string(target().join("axe.min.js"));
    if axe.is_err() {
        skipped("axe-core is not in target/report (tests/report/axe gets it)");
    }
    fs::create_dir_all(target()).unwrap();
    let county = sample();
    let mut browser = Browser::start(&[]);
    for lang in ["zh", "en"] {
        let path = target().join(format!("{lang}.html"));
        county.run(&["report", "--week", "--lang", lang, "-o", path.to_str().unwrap()]);
        for width in [1000, 360] {
            let size = json!({ "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false });
            browser.devtools("Emulation.setDeviceMetricsOverride", &size);
            browser.open(&format!("file://{}", path.display()));
            let shot = json!({ "format": "png", "captureBeyondViewport": true });
            let picture = browser.devtools("Page.captureScreenshot", &shot);
            keep(&format!("{lang}-{width}.png"), &picture["data"]);
            // Only what is in a frame of its own scrolls sideways.
            let wide = browser.run("return document.documentElement.scrollWidth");
            assert!(wide.as_i64().unwrap() <= width, "{lang}: {wide} at {width}");
            legible(&mut browser);
            if let Ok(axe) = &axe {
                accessible(&mut browser, axe, lang, width);
            }
        }
        browser.devtools("Emulation.clearDeviceMetricsOverride", &json!({}));
        let printed =
            browser.devtools("Page.printToPDF", &json!({ "printBackground": false, "preferCSSPageSize": true }));
        let pdf = keep(&format!("{lang}.pdf"), &printed["data"]);
        // Printed on A4: 210 × 297 mm are 595 × 842 points, a rounding apart.
        let text = String::from_utf8_lossy(&pdf).into_owned();
        assert!(text.contains("/MediaBox [0 0 594.95996 841.91998]") || text.contains("/MediaBox [0 0 595"), "not A4");
    }
}

/// Each chart has a name, texts that are large enough, and nothing that leaves its frame.
fn legible(browser: &mut Browser) {
    let found = browser.run(
        "return [...document.querySelectorAll('svg')].map(svg => {
            const frame = svg.getBoundingClientRect();
            const texts = [...svg.querySelectorAll('text')].map(text => text.getBoundingClientRect());
            return {
                name: svg.querySelector('title').textContent,
                texts: texts.length,
                least: Math.min(...texts.map(text => text.height)),
                out: texts.filter(t => t.left < frame.left - 1 || t.right > frame.right + 1 || t.bottom > frame.bottom + 1).length,
            };
        })",
    );
    let charts = found.as_array().unwrap();
    assert_eq!(charts.len(), 5, "{found}");
    for chart in charts {
        let least = chart["least"].as_f64().unwrap();
        assert!(chart["texts"].as_u64().unwrap() >= 3 && least >= 12.0 && chart["out"] == 0, "{chart}");
    }
}

fn accessible(browser: &mut Browser, axe: &str, lang: &str, width: i64) {
    browser.run(axe);
    let found = browser.run(
        "return axe.run(document).then(found => ({
            rules: found.passes.length,
            faults: found.violations.map(fault => [fault.id, fault.help, fault.nodes.slice(0, 3).map(node => node.html)]),
        }))",
    );
    assert!(found["rules"].as_u64().unwrap() > 15, "{found}");
    assert_eq!(found["faults"], json!([]), "{lang} at {width}");
}

fn keep(name: &str, data: &Value) -> Vec<u8> {
    let bytes = BASE64_STANDARD.decode(data.as_str().unwrap()).unwrap();
    fs::write(target().join(name), &bytes).unwrap();
    bytes
}
