//! Site files, gateway.toml and mapping tables: every fault has a place, and diagnostics can be shown.
#![no_main]

use std::{path::Path, sync::Arc};

use libfuzzer_sys::fuzz_target;
use waypost::config::{Diagnostic, Gateway, Layer, Role, Severity, mapping, site};

fuzz_target!(|data: &[u8]| {
    let show = |faults: &[Diagnostic]| {
        for fault in faults {
            assert!(fault.line > 0 && fault.column > 0 && fault.length > 0);
            let _ = fault.to_string();
        }
    };
    if let Ok(text) = std::str::from_utf8(data) {
        let own = Arc::new(Layer::parse("site.toml", text.to_owned(), Role::Site));
        let defaults = Arc::new(Layer::parse("defaults.toml", text.to_owned(), Role::Defaults));
        let (_, faults) = site::build("site", &[own, defaults]);
        show(&faults);
        let (gateway, faults) = Gateway::parse("gateway.toml", text.to_owned(), Path::new(""));
        show(&faults);
        // What has errors is never printed.
        if !has_errors(&faults) {
            let (_, faults) = Gateway::parse("gateway.toml", gateway.to_toml(), Path::new(""));
            assert!(!has_errors(&faults), "what `waypost config` prints is a good file: {faults:?}");
        }
    }
    match mapping::decode("site.csv", data.to_vec()) {
        Ok(file) => {
            let mut faults = Vec::new();
            mapping::read(&file, &mut faults, |row, faults| {
                for column in [mapping::Column::Old, mapping::Column::New, mapping::Column::Note] {
                    faults.push(mapping::fault(&file, row, column, "test", row.cell(column)));
                }
            });
            show(&faults);
        }
        Err(fault) => show(&[*fault]),
    }
});

fn has_errors(faults: &[Diagnostic]) -> bool {
    faults.iter().any(|fault| fault.severity == Severity::Error)
}
