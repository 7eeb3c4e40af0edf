//! Which names are to have a certificate of the authority, and why others are not.

use std::{collections::HashSet, sync::Arc};

use super::schedule::Wanted;
use crate::config::AcmeSettings;
use crate::model::{HostPattern, Phase};
use crate::routing::SiteTable;

/// A host for which nothing is ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unwanted {
    /// The host; a wildcard is `*.name`.
    pub name: String,
    /// The site that has it.
    pub site: String,
    /// Why.
    pub why: Reason,
}

/// Why nothing is ordered for a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// A valid certificate of the operator's covers it.
    Covered,
    /// Its site says `acme = false`.
    Declined,
    /// Its site is retired.
    Retired,
    /// It is a wildcard, and nobody can publish DNS records.
    NoHook,
    /// A wildcard that is ordered covers it; authorities want no name twice.
    ByWildcard,
    /// No public authority has certificates for it: an IP address, or a name without a dot.
    NotPublic,
}

impl Reason {
    /// What it is, and what could be done, in a sentence.
    pub fn text(self) -> &'static str {
        match self {
            Reason::Covered => "a valid certificate in the folder of certificates covers it",
            Reason::Declined => "its site says acme = false",
            Reason::Retired => "its site is retired",
            Reason::NoHook => {
                "a wildcard can only be proven by DNS: set [acme] dns-hook, list its names as hosts, or put a chain and a key into the folder of certificates"
            }
            Reason::ByWildcard => "the wildcard that is ordered beside it covers it",
            Reason::NotPublic => "no public authority issues certificates for such a name",
        }
    }
}

/// Which hosts are covered by certificates that have these names, for [`wanted`].
pub fn covered(names: HashSet<String>) -> impl Fn(&HostPattern) -> bool {
    move |host| match host {
        HostPattern::Exact(host) => {
            let host = host.as_str();
            let parent = host.split_once('.').map(|(_, parent)| format!("*.{parent}"));
            names.contains(host) || parent.is_some_and(|parent| names.contains(&parent))
        }
        HostPattern::Below(parent) => names.contains(&format!("*.{}", parent.as_str())),
    }
}

/// The names of these sites at `now` (Unix seconds), in the order of the sites. `covered` says of which hosts the operator's
/// own files take care.
pub fn wanted(
    sites: &[Arc<SiteTable>],
    settings: &AcmeSettings,
    covered: impl Fn(&HostPattern) -> bool,
    now: i64,
) -> (Vec<Wanted>, Vec<Unwanted>) {
    let has_hook = !settings.dns_hook.is_empty();
    let (mut all, mut unwanted) = (Vec::new(), Vec::new());
    for site in sites {
        for host in &site.hosts {
            let (name, is_wildcard) = match host {
                HostPattern::Exact(host) => (host.as_str().to_owned(), false),
                HostPattern::Below(parent) => (format!("*.{}", parent.as_str()), true),
            };
            let is_public = name.contains('.') && !name.ends_with(|c: char| c.is_ascii_digit() || c == ']');
            let why = if covered(host) {
                Some(Reason::Covered)
            } else if !site.acme {
                Some(Reason::Declined)
            } else if site.lifecycle.at(now) == Phase::Retired {
                Some(Reason::Retired)
            } else if !is_public {
                Some(Reason::NotPublic)
            } else if is_wildcard && !has_hook {
                Some(Reason::NoHook)
            } else {
                None
            };
            let site_id = site.id.to_string();
            match why {
                Some(why) => unwanted.push(Unwanted { name, site: site_id, why }),
                None => all.push(Wanted {
                    name,
                    site: site_id,
                    owner: site.owner.clone().unwrap_or_default(),
                    wave: site.wave.unwrap_or_default(),
                    is_urgent: false,
                }),
            }
        }
    }
    let wildcards: HashSet<String> =
        all.iter().filter_map(|name| Some(name.name.strip_prefix("*.")?.to_owned())).collect();
    let is_below =
        |name: &Wanted| name.name.split_once('.').is_some_and(|(label, rest)| label != "*" && wildcards.contains(rest));
    let (redundant, wanted): (Vec<Wanted>, Vec<Wanted>) = all.into_iter().partition(is_below);
    unwanted.extend(redundant.into_iter().map(|name| Unwanted {
        name: name.name,
        site: name.site,
        why: Reason::ByWildcard,
    }));
    (wanted, unwanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Gateway;
    use crate::routing::Loader;

    #[test]
    fn what_is_ordered_and_what_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let site = |id: &str, hosts: &str, more: &str| {
            let text = format!("name = \"{id}\"\nhosts = {hosts}\nhome = \"https://new.example/\"\n{more}");
            std::fs::write(dir.path().join(format!("{id}.toml")), text).unwrap();
        };
        site(
            "a",
            r#"["a.gov.example", "*.a.gov.example", "www.a.gov.example", "x.y.a.gov.example"]"#,
            "owner = \"o\"\nwave = 2\n",
        );
        site("b", r#"["b.gov.example", "192.0.2.1", "intranet"]"#, "");
        site("c", r#"["c.gov.example"]"#, "acme = false\n");
        site("d", r#"["d.gov.example"]"#, "[lifecycle]\nretired = 2020-01-01\n");
        let text = "[acme]\ndns-hook = [\"hook\"]\n".to_owned();
        let (mut gateway, _) = Gateway::parse("gateway.toml", text, dir.path());
        gateway.routes = dir.path().to_owned();
        let (snapshot, _) = Loader::new(&gateway).load(0, |_, _| {}).unwrap();
        let covered = |host: &HostPattern| host.to_string() == "b.gov.example";
        let all = |gateway: &Gateway| {
            let (wanted, unwanted) = wanted(snapshot.sites(), &gateway.acme, covered, 1_800_000_000);
            let names: Vec<String> =
                wanted.iter().map(|name| format!("{} {} {}", name.name, name.owner, name.wave)).collect();
            let whys: Vec<String> = unwanted.iter().map(|name| format!("{} {:?}", name.name, name.why)).collect();
            (names.join(", "), whys.join(", "))
        };
        assert_eq!(
            all(&gateway),
            (
                "a.gov.example o 2, *.a.gov.example o 2, x.y.a.gov.example o 2".to_owned(),
                "b.gov.example Covered, 192.0.2.1 NotPublic, intranet NotPublic, c.gov.example Declined, d.gov.example Retired, www.a.gov.example ByWildcard".to_owned()
            )
        );
        gateway.acme.dns_hook.clear();
        assert!(all(&gateway).0.contains("www.a.gov.example"));
        assert!(all(&gateway).1.contains("*.a.gov.example NoHook"));
    }
}
