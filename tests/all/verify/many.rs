//! Many targets: no host is asked faster than it should be, a kill loses nothing, memory stays bounded.
//!
//! `WAYPOST_TARGETS=100000` looks at as many.

use std::{
    collections::BTreeMap,
    fs,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use super::folder;
use super::origin::{Answer, Origin};
use crate::program::waypost;

const HOSTS: usize = 40;
const PER_HOST: usize = 2;

#[test]
fn killed_and_resumed() {
    let count: usize = std::env::var("WAYPOST_TARGETS").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000);
    // So that it takes a minute or two at most.
    let rate = if count > 20_000 { 30 } else { 20 };
    let process = Arc::new(AtomicU32::new(0));
    let peak = Arc::new(AtomicUsize::new(0));
    let (half, is_half) = mpsc::channel();
    let (watched, highest) = (process.clone(), peak.clone());
    let origin = Origin::start(move |asked, number| {
        if number == count / 2 {
            half.send(()).unwrap();
        }
        if number.is_multiple_of(100) {
            // Memory at its highest, as the system knows it.
            let status = fs::read_to_string(format!("/proc/{}/status", watched.load(Ordering::SeqCst)));
            let line = status.unwrap_or_default();
            let line = line.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0").trim().to_owned();
            let kilobytes = line.split(' ').next().unwrap().parse().unwrap_or(0);
            highest.fetch_max(kilobytes, Ordering::SeqCst);
        }
        match asked.target.as_str() {
            "/robots.txt" => Answer { body: b"User-agent: *\nDisallow: /admin\n".to_vec(), ..Answer::new(200) },
            path if path.starts_with("/page/") => Answer::page(&format!("通知 {path}"), &"青山县政务公开。".repeat(50)),
            _ => Answer::new(404),
        }
    });
    let targets = (0..count).map(|n| format!("http://h{}.origin.example/page/{n}.html", n % HOSTS));
    let folder = folder(targets, &format!("[verify]\nrate = {rate}\nper-host = {PER_HOST}\n"));
    let place = origin.place("*", 80);
    let args = ["verify", "--json", "--resolve", &place];
    let mut first = waypost(folder.path(), &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    process.store(first.id(), Ordering::SeqCst);
    is_half.recv_timeout(Duration::from_secs(600)).unwrap();
    first.kill().unwrap();
    first.wait().unwrap();
    let before = origin.asked().len();
    assert!(before < count, "{before}");

    let second = waypost(folder.path(), &args).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap();
    process.store(second.id(), Ordering::SeqCst);
    let output = second.wait_with_output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["run"]["resumed"], true, "{report:#}");
    let faulty = (&report["sum"]["faulty"], &report["findings"][0]);
    assert_eq!(
        (report["run"]["targets"].as_u64(), report["sum"]["faulty"].as_u64()),
        (Some(count as u64), Some(0)),
        "{faulty:#?}"
    );
    assert_eq!(report["sum"]["targets"].as_u64(), Some(count as u64));

    let asked = origin.asked();
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for page in asked.iter().filter(|asked| asked.target.starts_with("/page/")) {
        *times.entry(&page.target).or_default() += 1;
    }
    assert_eq!(times.len(), count, "every target was asked for");
    let again = times.values().map(|times| times - 1).sum::<usize>();
    assert!(again <= HOSTS * PER_HOST, "{again} were asked for again");
    let worst = (0..HOSTS).map(|host| {
        let host = format!("h{host}.origin.example");
        let at: Vec<_> = asked.iter().filter(|asked| asked.host == host).map(|asked| asked.at).collect();
        let second =
            |first: usize| at[first..].iter().take_while(|later| **later - at[first] < Duration::from_secs(1)).count();
        (0..at.len()).map(second).max().unwrap_or(0)
    });
    let worst = worst.max().unwrap();
    // Requests that were under way when the second began may arrive within it.
    assert!(worst <= rate + 1 + PER_HOST, "{worst} requests to a host within a second");
    let peak = peak.load(Ordering::SeqCst);
    eprintln!(
        "{count} targets, {} requests, {again} again, at most {worst} a second to a host, {peak} KiB at most",
        asked.len()
    );
    assert!(peak > 0 && peak < 300 << 10, "{peak} KiB");
}
