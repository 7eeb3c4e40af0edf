//! The committed JSON Schemas are those that the program prints.

use std::{fs, path::Path, process::Command};

#[test]
fn committed_schemas_are_true() {
    for (format, file) in [("site", "site.schema.json"), ("gateway", "gateway.schema.json")] {
        let output = Command::new(env!("CARGO_BIN_EXE_waypost")).args(["schema", format]).output().unwrap();
        assert!(output.status.success());
        let printed = String::from_utf8(output.stdout).unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("routes").join(file);
        if std::env::var_os("WAYPOST_BLESS").is_some() {
            fs::write(&path, &printed).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap();
        assert!(
            committed == printed,
            "routes/{file} is not what is printed: run `waypost schema {format} > routes/{file}`"
        );
    }
}
