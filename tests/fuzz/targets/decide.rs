//! Decisions over the sample: whatever a client sends, nobody is sent to a host that the sample doesn't name.
#![no_main]

use std::{path::PathBuf, sync::LazyLock};

use libfuzzer_sys::fuzz_target;
use waypost::{
    config::Gateway,
    model::{Host, Method, Target, Verdict},
    routing::{Loader, Request, Scratch, Snapshot},
};

static SNAPSHOT: LazyLock<(Snapshot, Vec<Host>)> = LazyLock::new(|| {
    let project = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let text = std::fs::read_to_string(project.join("gateway.toml")).expect("the sample's gateway.toml");
    let (gateway, _) = Gateway::parse("gateway.toml", text, &project);
    let (snapshot, _) = Loader::new(&gateway).load(1_800_000_000, |_, _| {}).expect("the sample");
    let hosts = snapshot
        .sites()
        .iter()
        .flat_map(|site| site.hosts.iter())
        .map(|pattern| pattern.to_string().replace('*', "any"))
        .filter_map(|host| Host::parse(host.as_bytes()).ok())
        .collect();
    (snapshot, hosts)
});

fuzz_target!(|data: &[u8]| {
    let [host, moment, target @ ..] = data else { return };
    let (snapshot, hosts) = &*SNAPSHOT;
    let host = &hosts[usize::from(*host) % hosts.len()];
    let now = 1_400_000_000 + i64::from(*moment) * 10_000_000;
    for method in [Method::Get, Method::Other] {
        let request = Request { method, host: Some(host.as_str().as_bytes()), target, secure: false, user_agent: b"" };
        let mut scratch = Scratch::default();
        let decision = snapshot.decide(&request, now, &mut scratch);
        let location = match decision.verdict {
            Verdict::Redirect { location, .. }
            | Verdict::Notice { location }
            | Verdict::Leaving { location }
            | Verdict::HttpsRequired { location } => location,
            _ => continue,
        };
        assert!(location.bytes().all(|byte| byte.is_ascii_graphic()), "{location:?}");
        let target = Target::parse(location).expect("a location is a target");
        assert!(target.host().as_str().ends_with(".example"), "{location}");
    }
    // Any host at all.
    let request = Request { method: Method::Get, host: Some(target), target, secure: true, user_agent: b"" };
    let _ = snapshot.decide(&request, now, &mut Scratch::default());
});
