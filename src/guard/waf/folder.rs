//! Which files of a folder are rules, and in what order.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use super::directives::{RuleSet, parse};

/// Something that was left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, if it is about one.
    pub file: Option<PathBuf>,
    /// The line, from 1; 0 if it is about the whole file.
    pub line: usize,
    /// The rule.
    pub id: Option<u32>,
    /// What is wrong.
    pub why: String,
}

impl Fault {
    pub(super) fn in_general(why: impl Into<String>) -> Self {
        Fault { file: None, line: 0, id: None, why: why.into() }
    }

    fn of_file(file: &Path, why: impl fmt::Display) -> Self {
        Fault { file: Some(file.to_owned()), line: 0, id: None, why: why.to_string() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if self.line > 0 {
                write!(f, "{}:", self.line)?;
            }
            f.write_str(" ")?;
        }
        if let Some(id) = self.id {
            write!(f, "rule {id}: ")?;
        }
        f.write_str(&self.why)
    }
}

impl std::error::Error for Fault {}

/// Reads the rules of a folder, in the order in which they work.
///
/// # Errors
/// If it has none.
pub fn read(folder: &Path) -> Result<(RuleSet, Vec<Fault>), Fault> {
    let (mut rules, mut faults) = (RuleSet::default(), Vec::new());
    let files = files(folder).map_err(|error| Fault::of_file(folder, error))?;
    for file in files {
        match fs::read(&file) {
            // Rule files are ASCII, but for comments.
            Ok(bytes) => rules.units.extend(parse(&file, &String::from_utf8_lossy(&bytes))),
            Err(error) => faults.push(Fault::of_file(&file, error)),
        }
    }
    if rules.count() == 0 {
        return Err(Fault::of_file(folder, "no rules in it: name the folder that has `rules/*.conf`"));
    }
    Ok((rules, faults))
}

/// Debian's package says in `owasp-crs.load` what it includes. A release has `crs-setup.conf`, or the example of it, and
/// its rules in `rules/`; plugins stand around them.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut out = Vec::new();
    let load = folder.join("owasp-crs.load");
    if load.is_file() {
        for line in fs::read_to_string(load)?.lines() {
            let mut words = line.split_whitespace();
            if let (Some("Include" | "IncludeOptional"), Some(path)) = (words.next(), words.next()) {
                out.extend(glob(&folder.join(path))?);
            }
        }
    } else {
        let setup = ["crs-setup.conf", "crs-setup.conf.example"].map(|name| folder.join(name));
        out.extend(setup.into_iter().find(|file| file.is_file()));
        for pattern in ["plugins/*-config.conf", "plugins/*-before.conf", "rules/*.conf", "plugins/*-after.conf"] {
            out.extend(glob(&folder.join(pattern))?);
        }
    }
    // Answers of platforms are not inspected, and nothing is correlated that is not.
    let is_for_answers = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        ["RESPONSE-95", "RESPONSE-98"].iter().any(|start| name.starts_with(start))
    };
    out.retain(|file| !is_for_answers(file));
    Ok(out)
}

/// The files of a path whose last part may have one `*`, sorted.
fn glob(path: &Path) -> io::Result<Vec<PathBuf>> {
    let pattern = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Some((start, end)) = pattern.split_once('*') else {
        return Ok(path.is_file().then(|| path.to_owned()).into_iter().collect());
    };
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut out = Vec::new();
    if folder.is_dir() {
        for entry in fs::read_dir(folder)? {
            let name = entry?.file_name();
            let text = name.to_string_lossy();
            if text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end) {
                out.push(folder.join(&name));
            }
        }
    }
    out.sort();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let names = files(folder).unwrap();
        names.iter().map(|file| file.strip_prefix(folder).unwrap().display().to_string()).collect()
    }

    #[test]
    fn a_release_and_debians_folder() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        for name in ["rules", "plugins"] {
            fs::create_dir(folder.join(name)).unwrap();
        }
        for name in [
            "crs-setup.conf.example",
            "rules/REQUEST-901-A.conf",
            "rules/REQUEST-949-B.conf",
            "rules/RESPONSE-950-C.conf",
            "rules/RESPONSE-999-D.conf",
            "rules/x.data",
            "plugins/a-config.conf",
            "plugins/a-before.conf",
            "plugins/a-after.conf",
        ] {
            fs::write(folder.join(name), "SecRule ARGS x id:1\n").unwrap();
        }
        let rules = ["rules/REQUEST-901-A.conf", "rules/REQUEST-949-B.conf", "rules/RESPONSE-999-D.conf"];
        let before = ["crs-setup.conf.example", "plugins/a-config.conf", "plugins/a-before.conf"];
        assert_eq!(names(folder), [&before[..], &rules, &["plugins/a-after.conf"]].concat());
        fs::write(folder.join("crs-setup.conf"), "").unwrap();
        assert_eq!(names(folder)[0], "crs-setup.conf");
        fs::write(
            folder.join("owasp-crs.load"),
            "# x\nInclude crs-setup.conf\nIncludeOptional none.conf\nInclude rules/*.conf\n",
        )
        .unwrap();
        assert_eq!(names(folder), [&["crs-setup.conf"], &rules[..]].concat());
        let (rules, faults) = read(folder).unwrap();
        assert_eq!((rules.count(), faults), (3, Vec::new()));
    }

    #[test]
    fn a_folder_without_rules_is_a_fault() {
        let folder = tempfile::tempdir().unwrap();
        let fault = read(folder.path()).unwrap_err().to_string();
        assert!(fault.contains("no rules in it"), "{fault}");
    }
}
