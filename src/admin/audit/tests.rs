use std::{
    fs,
    path::{Path, PathBuf},
};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::log::{Head, head_path};
use super::record::Record;
use super::*;

fn author() -> Author {
    Author { who: "token ops".to_owned(), from: "127.0.0.1:4711".to_owned() }
}

fn change(on: &str) -> Change {
    Change { what: "purge", on: on.to_owned(), before: json!(1) }
}

/// A log of so many changes, two lines each, after its first.
fn log_of(folder: &Path, changes: usize) -> (AuditLog, PathBuf) {
    let path = folder.join("audit.jsonl");
    let log = AuditLog::new(&path);
    more(&log, changes);
    (log, path)
}

fn more(log: &AuditLog, changes: usize) {
    for number in 0..changes {
        log.change(&author(), change(&format!("url={number}")), || Ok(((), json!(0)))).unwrap();
    }
}

fn check(path: &Path) -> Report {
    verify(&[path.to_owned()], None).unwrap()
}

fn faults(path: &Path) -> Vec<String> {
    check(path).faults.iter().map(|fault| format!("{} {}", fault.line, fault.message)).collect()
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn put(path: &Path, lines: &[String]) {
    fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
}

#[test]
fn a_change_is_two_lines_that_say_everything() {
    let folder = tempfile::tempdir().unwrap();
    let (log, path) = log_of(folder.path(), 1);
    let refused = log.change(&author(), change("tag=x"), || Err::<((), Value), _>("no".to_owned()));
    assert!(matches!(refused, Err(ChangeError::Failed(why)) if why == "no"));
    let lines: Vec<Value> = lines(&path).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5);
    assert_eq!((&lines[0]["what"], lines[0]["log"].as_str().unwrap().len()), (&json!("begin"), 32));
    for (number, line) in lines.iter().enumerate() {
        assert_eq!(line["seq"], number + 1);
        assert_eq!(line["previous"], if number == 0 { json!("") } else { lines[number - 1]["hash"].clone() });
    }
    let wanted =
        [("what", "purge"), ("on", "url=0"), ("who", "token ops"), ("from", "127.0.0.1:4711"), ("result", "begun")];
    for (key, value) in wanted {
        assert_eq!(lines[1][key], value);
    }
    assert_eq!((&lines[1]["before"], &lines[2]["after"], &lines[2]["of"]), (&json!(1), &json!(0), &json!(2)));
    assert_eq!((&lines[2]["result"], &lines[4]["result"]), (&json!("done"), &json!("failed: no")));
    let report = check(&path);
    assert_eq!((report.records, report.faults, report.seq), (5, vec![], 5));
    assert_eq!(json!(report.head), lines[4]["hash"]);
}

#[test]
fn what_cannot_be_written_down_is_not_done() {
    let folder = tempfile::tempdir().unwrap();
    let log = AuditLog::new(folder.path().join("no/audit.jsonl"));
    let mut done = false;
    let outcome = log.change(&author(), change("all"), || {
        done = true;
        Ok(((), Value::Null))
    });
    let error = outcome.unwrap_err().to_string();
    assert!(error.starts_with("not done: ") && error.contains("[admin] audit"), "{error}");
    assert!(!done && log.obstacle().is_some());
}

#[test]
fn tampering_shows_where_it_was_done() {
    let folder = tempfile::tempdir().unwrap();
    let (_, path) = log_of(folder.path(), 3);
    let good = lines(&path);
    let after = |edit: &dyn Fn(&mut Vec<String>)| {
        let mut lines = good.clone();
        edit(&mut lines);
        put(&path, &lines);
        faults(&path)
    };
    assert_eq!(after(&|_| {}), [""; 0]);
    let edited = "it was edited: it is not what its hash says";
    assert_eq!(after(&|lines| lines[3] = lines[3].replace("ops", "you")), [format!("4 {edited}")]);
    // The last, too.
    assert_eq!(after(&|lines| lines[6] = lines[6].replace("ops", "you")), [format!("7 {edited}")]);
    assert_eq!(after(&|lines| drop(lines.remove(3))), ["4 record 4 is missing before it"]);
    assert_eq!(after(&|lines| drop(lines.drain(2..5))), ["3 records 3 to 5 are missing before it"]);
    assert_eq!(after(&|lines| drop(lines.drain(..2))), ["1 the log does not begin here: records before 3 are missing"]);
    let beside = head_path(&path);
    let end = format!("the end is missing: {} says that record 7 was the last", beside.display());
    assert_eq!(after(&|lines| lines.truncate(5)), [format!("5 {end}")]);
    let swapped = after(&|lines| lines.swap(2, 3));
    assert!(
        swapped[0].starts_with("3 record 3 is missing") && swapped[1].starts_with("4 record 3 is out of"),
        "{swapped:?}"
    );
    assert_eq!(after(&|lines| lines.insert(3, lines[2].clone())), ["4 it is there twice"]);
    assert_eq!(after(&|lines| lines.insert(3, "{}".to_owned())), ["4 it is no record"]);
    // Somebody who knows how makes the hash fit: then the next line doesn't.
    let forged = after(&|lines| {
        let (mut record, _) = Record::of_line(lines[3].as_bytes()).unwrap();
        record.who = Some("you".to_owned());
        lines[3] = String::from_utf8(record.to_line().unwrap().0).unwrap();
    });
    assert_eq!(forged, ["5 the line before it, record 4, is not the one that it was written after"]);
    // Without the file beside it, a cut at the end shows by a hash that was kept.
    put(&path, &good[..5]);
    fs::remove_file(beside).unwrap();
    let (_, kept) = Record::of_line(good[6].as_bytes()).unwrap();
    assert!(faults(&path).is_empty());
    let report = verify(std::slice::from_ref(&path), Some(&kept)).unwrap();
    assert_eq!(report.faults[0].message, format!("the end is missing: no line has the hash {kept}"));
    let older = verify(&[path], Some(&report.head)).unwrap();
    assert!(older.faults.is_empty());
}

#[test]
fn writing_goes_on_after_tampering_and_does_not_hide_it() {
    let folder = tempfile::tempdir().unwrap();
    let (log, path) = log_of(folder.path(), 3);
    let good = lines(&path);
    for (edit, fault) in [
        (good[..5].to_vec(), "6 records 6 to 7 are missing before it".to_owned()),
        (
            [&good[..6], &[good[6].replace("ops", "you")]].concat(),
            "7 it was edited: it is not what its hash says".to_owned(),
        ),
    ] {
        let head = fs::read(head_path(&path)).unwrap();
        put(&path, &edit);
        more(&log, 2);
        assert_eq!(faults(&path), [fault]);
        put(&path, &good);
        fs::write(head_path(&path), head).unwrap();
    }
    // Nothing is left that could say how it was.
    put(&path, &[&good[..6], &[good[6].replace("ops", "you")]].concat());
    fs::remove_file(head_path(&path)).unwrap();
    let error = log.change(&author(), change("all"), || Ok(((), Value::Null))).unwrap_err().to_string();
    assert!(error.contains("damaged") && error.contains("audit verify"), "{error}");
}

#[test]
fn a_line_torn_by_a_crash_is_told_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (log, path) = log_of(folder.path(), 1);
    let head = fs::read(head_path(&path)).unwrap();
    let before = fs::read(&path).unwrap();
    more(&log, 1);
    let after = fs::read(&path).unwrap();
    for cut in before.len()..after.len() {
        // As it would be: a part is written, and nothing vouches for it yet.
        fs::write(&path, &after[..cut]).unwrap();
        fs::write(head_path(&path), &head).unwrap();
        assert_eq!(faults(&path), [""; 0], "cut at {cut}");
        more(&log, 1);
        let report = check(&path);
        assert_eq!(report.faults, [], "cut at {cut}: {}", fs::read_to_string(&path).unwrap());
        assert!(fs::read(&path).unwrap().starts_with(&after[..cut]), "nothing is ever taken back");
    }
    // The very first line.
    for cut in 1..before.iter().position(|&byte| byte == b'\n').unwrap() {
        fs::write(&path, &before[..cut]).unwrap();
        fs::remove_file(head_path(&path)).unwrap();
        more(&log, 1);
        let report = check(&path);
        assert_eq!((report.faults, report.notes.len()), (vec![], 1), "cut at {cut}");
    }
}

#[test]
fn a_torn_line_that_was_vouched_for_is_a_cut() {
    let folder = tempfile::tempdir().unwrap();
    let (log, path) = log_of(folder.path(), 1);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 20]).unwrap();
    assert_eq!(faults(&path).len(), 2);
    more(&log, 1);
    assert_eq!(faults(&path), ["4 record 3 is missing before it"]);
}

#[test]
fn a_renamed_file_is_followed_by_one_that_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (log, path) = log_of(folder.path(), 2);
    let old = folder.path().join("audit.jsonl.1");
    fs::rename(&path, &old).unwrap();
    more(&log, 1);
    let alone = check(&path);
    assert_eq!((alone.faults, alone.notes.len(), alone.records), (vec![], 1, 3));
    let both = verify(&[old.clone(), path.clone()], None).unwrap();
    assert_eq!((both.faults, both.notes.len(), both.records), (vec![], 0, 8));
    // A file between them is missed.
    fs::rename(&path, folder.path().join("audit.jsonl.2")).unwrap();
    more(&log, 1);
    let gap = verify(&[old, path], None).unwrap();
    assert_eq!(gap.faults.len(), 1);
    assert!(gap.faults[0].message.contains("records 6 to 8 are missing"), "{:?}", gap.faults);
}

#[test]
fn writers_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let (_, path) = log_of(folder.path(), 0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| more(&AuditLog::new(&path), 10));
        }
    });
    let report = check(&path);
    assert_eq!((report.records, report.faults), (1 + 4 * 10 * 2, vec![]));
}

#[test]
fn names_of_clients_stay_within_their_line() {
    let folder = tempfile::tempdir().unwrap();
    let (log, path) = log_of(folder.path(), 0);
    let author = Author { who: "certificate CN=a\n{\"seq\":9}\"\u{2028}".to_owned(), from: "\0\r\n".to_owned() };
    log.change(&author, change("url=\n\",\"hash\":\"\u{7f}"), || Ok(((), Value::Null))).unwrap();
    assert_eq!(lines(&path).len(), 3);
    assert_eq!(check(&path).faults, []);
}

#[derive(Clone, Debug)]
enum Tampering {
    Byte(usize, u8),
    Remove(usize, usize),
    Swap(usize, usize),
    Copy(usize, usize),
    Truncate(usize),
}

fn tampering() -> impl Strategy<Value = Tampering> {
    let at = any::<usize>;
    prop_oneof![
        (at(), 1..=255_u8).prop_map(|(at, by)| Tampering::Byte(at, by)),
        (at(), 1..4_usize).prop_map(|(at, count)| Tampering::Remove(at, count)),
        (at(), at()).prop_map(|(one, other)| Tampering::Swap(one, other)),
        (at(), at()).prop_map(|(from, to)| Tampering::Copy(from, to)),
        at().prop_map(Tampering::Truncate),
    ]
}

/// Does it, somewhere; the bytes after it.
fn tamper(bytes: &[u8], tampering: &Tampering) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    match *tampering {
        Tampering::Byte(at, by) => {
            let at = at % bytes.len();
            bytes[at] ^= by;
            return bytes;
        }
        Tampering::Truncate(at) => {
            bytes.truncate(at % bytes.len());
            return bytes;
        }
        _ => {}
    }
    let mut lines: Vec<&[u8]> = bytes.split_inclusive(|&byte| byte == b'\n').collect();
    let count = lines.len();
    match *tampering {
        Tampering::Remove(at, many) => {
            let at = at % count;
            lines.drain(at..(at + many).min(count));
        }
        Tampering::Swap(one, other) => lines.swap(one % count, other % count),
        Tampering::Copy(from, to) => lines.insert(to % (count + 1), lines[from % count]),
        _ => {}
    }
    lines.concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_tampering_goes_unseen(changes in 1..6_usize, tampering in tampering(), then in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let (log, path) = log_of(folder.path(), changes);
        let before = fs::read(&path).unwrap();
        let after = tamper(&before, &tampering);
        prop_assume!(after != before);
        // The end of the last line is no part of it.
        prop_assume!(after != before[..before.len() - 1]);
        fs::write(&path, after).unwrap();
        if then && log.change(&author(), change("all"), || Ok(((), Value::Null))).is_ok() {
            // Somebody took the whole file away, which the new one says.
            let report = check(&path);
            let told = report.notes.iter().any(|note| note.message.contains("earlier file"));
            prop_assert!(!report.faults.is_empty() || told, "{tampering:?}");
        } else {
            prop_assert!(!faults(&path).is_empty(), "{tampering:?}");
        }
    }

    #[test]
    fn heads_are_read_as_they_are_written(log in "[0-9a-f]{32}", seq in any::<u64>(), hash in "[0-9a-f]{64}") {
        let head = Head { log, seq, hash };
        prop_assert_eq!(&serde_json::from_str::<Head>(&serde_json::to_string(&head).unwrap()).unwrap(), &head);
    }
}
