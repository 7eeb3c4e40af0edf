//! What is visited.

use std::{collections::BTreeMap, sync::Arc};

use aws_lc_rs::digest;

use crate::config::{Gateway, MonitorSettings, OriginPlace, Platform};
use crate::model::{Phase, Target};
use crate::routing::Snapshot;

/// A page that is visited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    id: i64,
    url: Arc<Target>,
}

impl Page {
    /// The page at a URL.
    pub fn new(url: Target) -> Self {
        let digest = digest::digest(&digest::SHA256, url.as_str().as_bytes());
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&digest.as_ref()[..8]);
        Page { id: i64::from_be_bytes(bytes) & i64::MAX, url: Arc::new(url) }
    }

    /// Its number, the same on every node: 63 bits of a digest of its URL.
    pub fn id(&self) -> i64 {
        self.id
    }

    /// Its URL.
    pub fn url(&self) -> &Target {
        &self.url
    }
}

/// What is to be visited at `now` (Unix seconds): homes of sites, platforms, and what the settings name, each URL once.
pub fn pages(gateway: &Gateway, snapshot: &Snapshot, now: i64) -> Vec<Page> {
    let settings: &MonitorSettings = &gateway.monitor;
    let mut all: BTreeMap<String, Target> = BTreeMap::new();
    let mut add = |url: Target| {
        all.entry(url.as_str().to_owned()).or_insert(url);
    };
    if settings.homes {
        let sites = snapshot.sites().iter().filter(|site| site.lifecycle.at(now) != Phase::Retired);
        sites.filter_map(|site| site.home.clone()).for_each(&mut add);
    }
    if settings.platforms {
        gateway.platforms.values().filter_map(front).for_each(&mut add);
    }
    settings.pages.iter().cloned().for_each(&mut add);
    all.into_values().map(Page::new).collect()
}

/// The front page of a platform as citizens have it, if it has a name; else that of its first origin.
pub fn front(platform: &Platform) -> Option<Target> {
    let scheme = |secure| if secure { "https" } else { "http" };
    let origin = platform.origins.iter().find(|origin| !matches!(origin.place, OriginPlace::Unix(_)))?;
    let authority = match (&platform.host, &origin.place) {
        (Some(host), _) => host.as_str().to_owned(),
        (None, OriginPlace::Name(name, port)) => format!("{name}:{port}"),
        (None, OriginPlace::Address(address, port)) => std::net::SocketAddr::new(*address, *port).to_string(),
        (None, OriginPlace::Unix(_)) => return None,
    };
    Target::parse(&format!("{}://{authority}/", scheme(origin.secure))).ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::routing::Loader;

    #[test]
    fn homes_platforms_and_pages_each_once() {
        let folder = tempfile::tempdir().unwrap();
        let site = |name: &str, home: &str, more: &str| {
            let text = format!("name = \"{name}\"\nhosts = [\"{name}.example\"]\nhome = \"{home}\"\n{more}");
            std::fs::write(folder.path().join(format!("{name}.toml")), text).unwrap();
        };
        site("a", "https://www.new.example/a/", "");
        site("b", "https://www.new.example/", "");
        site("c", "https://www.new.example/", "");
        site("d", "https://www.new.example/d/", "[lifecycle]\nretired = 2001-01-01\n");
        let text = "[platforms.new]\norigins = [\"https://10.0.0.1:8443\"]\nhost = \"www.new.example\"\n\
            [platforms.bare]\norigins = [\"unix:/run/x.sock\", \"http://10.0.0.2:8080\"]\n\
            [monitor]\npages = [\"https://other.example/x\"]\n";
        let (gateway, faults) = Gateway::parse("gateway.toml", text.to_owned(), Path::new(""));
        assert!(faults.is_empty(), "{faults:?}");
        let gateway = Gateway { routes: folder.path().to_owned(), ..gateway };
        let (snapshot, _) = Loader::new(&gateway).load(0, |_, _| {}).unwrap();
        let urls = |gateway: &Gateway| -> Vec<String> {
            pages(gateway, &snapshot, 1_795_000_000).iter().map(|page| page.url().to_string()).collect()
        };
        let all = [
            "http://10.0.0.2:8080/",
            "https://other.example/x",
            "https://www.new.example/",
            "https://www.new.example/a/",
        ];
        assert_eq!(urls(&gateway), all);
        let monitor = MonitorSettings { homes: false, ..gateway.monitor.clone() };
        assert_eq!(urls(&Gateway { monitor, ..gateway }), all[..3]);
    }
}
