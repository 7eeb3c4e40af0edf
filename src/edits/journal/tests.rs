use std::{collections::BTreeMap, os::unix::fs::symlink};

use super::*;

type Texts = BTreeMap<String, String>;

/// Everything below a folder but the journal.
fn texts(root: &Path) -> Texts {
    let mut texts = Texts::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            match path.is_dir() {
                true if name == FOLDER => {}
                true => folders.push(path),
                false => drop(texts.insert(name, fs::read_to_string(&path).unwrap())),
            }
        }
    }
    texts
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::create_dir_all(root.path().join(name).parent().unwrap()).unwrap();
        fs::write(root.path().join(name), text).unwrap();
    }
    root
}

fn changes(root: &Path, files: &[(&str, &str)]) -> Changes {
    let mut changes = Changes::new(root);
    files.iter().for_each(|(name, text)| changes.put(name, (*text).to_owned()).unwrap());
    changes
}

fn commit(root: &Path, files: &[(&str, &str)], scope: &str) -> Result<Record, EditError> {
    Journal::open(root).unwrap().0.commit(&changes(root, files), scope, "a test")
}

fn roll_back(root: &Path, scope: &str, force: bool) -> Result<Record, EditError> {
    let journal = Journal::open(root).unwrap().0;
    let undo = journal.last(scope)?.expect("something to take back");
    journal.undo(undo, force)
}

#[test]
fn changes_are_taken_back_one_by_one() {
    let root = folder(&[("a.toml", "a = 1\r\n"), ("x/b.toml", "b = 1"), ("c.toml", "")]);
    let root = root.path();
    fs::set_permissions(root.join("a.toml"), fs::Permissions::from_mode(0o640)).unwrap();
    fs::write(root.join("real"), "linked\n").unwrap();
    symlink("real", root.join("link.toml")).unwrap();
    let first = texts(root);
    let edits = [("a.toml", "a = 2\r\n"), ("x/b.toml", "b = 2"), ("y/new.toml", "new\n"), ("link.toml", "other\n")];
    commit(root, &edits, "wave 1").unwrap();
    let second = texts(root);
    assert_eq!((second["a.toml"].as_str(), second["y/new.toml"].as_str()), ("a = 2\r\n", "new\n"));
    assert_eq!(fs::metadata(root.join("a.toml")).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(root.join("link.toml")).unwrap().is_symlink());
    assert_eq!(second["real"], "other\n");
    // Scopes are independent of each other.
    commit(root, &[("a.toml", "a = 3\r\n")], "wave 1").unwrap();
    commit(root, &[("c.toml", "c\n")], "wave 2").unwrap();
    assert_eq!(roll_back(root, "wave 1", false).unwrap().number, 2);
    assert_eq!(texts(root)["a.toml"], second["a.toml"]);
    assert_eq!(roll_back(root, "wave 1", false).unwrap().number, 1);
    roll_back(root, "wave 2", false).unwrap();
    assert_eq!(texts(root), first);
    assert!(Journal::open(root).unwrap().0.last("wave 1").unwrap().is_none());
}

#[test]
fn what_somebody_else_has_written_is_safe() {
    let root = folder(&[("a.toml", "1"), ("b.toml", "1")]);
    let root = root.path();
    let stale = changes(root, &[("a.toml", "2"), ("b.toml", "2")]);
    fs::write(root.join("b.toml"), "by hand").unwrap();
    let journal = Journal::open(root).unwrap().0;
    let fault = journal.commit(&stale, "s", "").unwrap_err();
    assert_eq!(fault.to_string(), "somebody has changed b.toml meanwhile: nothing was written");
    assert_eq!(texts(root)["a.toml"], "1");
    assert!(matches!(Journal::open(root), Err(EditError::Busy)));
    drop(journal);

    commit(root, &[("a.toml", "2"), ("b.toml", "2")], "s").unwrap();
    fs::write(root.join("b.toml"), "edited").unwrap();
    assert!(matches!(roll_back(root, "s", false), Err(EditError::Changed(names)) if names == ["b.toml"]));
    assert_eq!((texts(root)["a.toml"].as_str(), texts(root)["b.toml"].as_str()), ("2", "edited"));
    roll_back(root, "s", true).unwrap();
    assert_eq!((texts(root)["a.toml"].as_str(), texts(root)["b.toml"].as_str()), ("1", "by hand"));
}

#[test]
fn what_can_not_be_written_as_a_whole_is_not_written() {
    // Its temporary name is too long for a file system.
    let long = format!("z{}.toml", "x".repeat(245));
    let root = folder(&[("a.toml", "1"), (&long, "1")]);
    let root = root.path();
    let before = texts(root);
    assert!(matches!(commit(root, &[("a.toml", "2"), (&long, "2")], "s"), Err(EditError::Io { .. })));
    assert_eq!(texts(root), before);
    assert!(Journal::open(root).unwrap().0.last("s").unwrap().is_none());
}

#[test]
fn half_a_change_is_taken_back() {
    let root = folder(&[("a.toml", "1"), ("b.toml", "1")]);
    let root = root.path();
    let before = texts(root);
    let mut record = commit(root, &[("a.toml", "2"), ("b.toml", "2"), ("c.toml", "2")], "s").unwrap();
    // As a crash leaves it after the first file, and the last.
    record.state = State::Writing;
    Journal::open(root).unwrap().0.save(&record).unwrap();
    fs::write(root.join("b.toml"), "1").unwrap();
    let (journal, mended) = Journal::open(root).unwrap();
    assert_eq!(mended.len(), 1);
    assert_eq!(texts(root), before);
    assert!(journal.last("s").unwrap().is_none());
}
