//! Request rules: any file is read with faults that can be shown, or holds for any request as each of its rules would
//! alone; whatever is asked, nobody is sent to a host that the file does not name.
#![no_main]

use std::{ops::ControlFlow, path::Path, time::Instant};

use libfuzzer_sys::fuzz_target;
use waypost::{
    config::{Gateway, GuardSettings, RequestAction},
    guard::{Crawlers, Declared, Guard, Notes, Policy, RuleSet, Ruling, Sources, View},
};

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(3, |&byte| byte == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (text, target, head) = (part(), part(), part());
    let Ok(text) = std::str::from_utf8(text) else { return };
    // Most of a file says nothing about rules.
    let text = format!("[[guard.rule]]\n{text}\n");
    let (gateway, faults) = Gateway::parse("gateway.toml", text.clone(), Path::new(""));
    for fault in &faults {
        assert!(fault.line > 0 && fault.column > 0 && fault.length > 0);
        let _ = fault.to_string();
    }
    let fields: Vec<(String, String)> = String::from_utf8_lossy(head)
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .take(20)
        .collect();
    let method = fields.iter().find(|(name, _)| name == "method").map_or("GET", |(_, value)| value);
    let client = fields.iter().find_map(|(name, value)| value.parse().ok().filter(|_| name == "client"));
    let view = View { site: "", method, host: Some(b"old.example"), target, secure: false, client, fields: &fields, is_many: false, habits: None, is_mapped: &|| false };
    let crawlers = (&Declared::default(), &Crawlers::new(&[]));
    let Some(file) = gateway.guard.rules.first() else { return };
    let holding = |set: &RuleSet| {
        let mut places = Vec::new();
        let _ = set.holding(&view, crawlers, &mut Vec::new(), &mut |rule| {
            places.push(rule.place.clone());
            ControlFlow::Continue(())
        });
        places
    };
    // What an earlier rule has tagged, a rule alone can't know.
    if !text.contains("tag") {
        let alone: Vec<_> =
            file.rules.iter().flat_map(|rule| holding(&RuleSet::new(std::slice::from_ref(rule)))).collect();
        assert_eq!(holding(&RuleSet::new(&file.rules)), alone);
    }
    let now = Instant::now();
    let policy = Policy::new(&GuardSettings::default(), &gateway.guard, &Sources::default());
    let ruling = Guard::new(1, Crawlers::new(&[]), now).admit(&policy, &view, now, &mut Notes::default(), &mut ());
    match ruling {
        Ruling::Admit => {}
        Ruling::Refuse(denial) => assert!((400..600).contains(&denial.status)),
        Ruling::Redirect { location, status } => {
            assert!(matches!(status, 301 | 302 | 303 | 307 | 308));
            assert!(location.bytes().all(|byte| byte.is_ascii_graphic()), "{location:?}");
            let written = |action: &RequestAction| matches!(action, RequestAction::Redirect(to, _) if *to.as_str() == *location);
            assert!(file.rules.iter().any(|rule| written(&rule.action)), "{location}");
        }
    }
});
