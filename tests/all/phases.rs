//! Phases begin by themselves at their time, on every node in the same second. With the real program.

use std::fs;

use jiff::{SignedDuration, Timestamp};

use crate::client::Conn;
use crate::program::{Program, until};

#[test]
fn a_phase_begins_on_every_node_in_the_same_second() {
    let routes = tempfile::tempdir().unwrap();
    let begin = Timestamp::from_second(Timestamp::now().as_second() + 10).unwrap();
    let site = format!(
        "name = \"A\"\nhosts = [\"old.example\"]\nhome = \"https://new.example/\"\norigin = \"http://127.0.0.1:1\"\n\
         [lifecycle]\nnotice = 2001-01-01\nredirect = {begin}\n"
    );
    fs::write(routes.path().join("a.toml"), site).unwrap();
    let nodes: Vec<_> = (0..3)
        .map(|_| {
            let folder = tempfile::tempdir().unwrap();
            let settings = format!(
                "routes = {:?}\n[listen]\nhttp = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\nthreads = 1\n",
                routes.path()
            );
            fs::write(folder.path().join("gateway.toml"), settings).unwrap();
            (Program::start(folder.path()), folder)
        })
        .collect();
    assert!(Timestamp::now() < begin, "this machine is too slow for the test");
    let threads: Vec<_> = nodes
        .into_iter()
        .map(|(program, folder)| {
            std::thread::spawn(move || {
                let mut client = Conn::new(program.http[0]);
                let mut last_notice = None;
                let mut first_redirect = None;
                until("the phase", || {
                    let asked = Timestamp::now();
                    let status = client.get("old.example", "/").status;
                    let heard = Timestamp::now();
                    match status {
                        200 => last_notice = Some(asked),
                        301 => first_redirect = Some(heard),
                        other => panic!("{other}"),
                    }
                    first_redirect.is_some()
                });
                let line = program.wait_for("enters phase");
                assert!(line.contains("a enters phase redirect (was notice)"), "{line}");
                drop((program, folder));
                (last_notice.expect("a notice before"), first_redirect.expect("a redirect"))
            })
        })
        .collect();
    for thread in threads {
        let (last_notice, first_redirect) = thread.join().unwrap();
        // Never before its time, and soon after it: how soon, a busy machine may say.
        assert!(first_redirect >= begin, "{first_redirect} is before {begin}");
        assert!(
            last_notice < begin + SignedDuration::from_secs(4),
            "still in notice at {last_notice}, {begin} is past"
        );
    }
}
