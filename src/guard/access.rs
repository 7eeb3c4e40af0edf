//! Who is let in, by address and by country.
//!
//! Who is on a deny list is refused, whatever else the settings say. Where there is an allow list of any kind, everyone
//! else is refused who is on none of them; an empty one lets nobody in.

use std::{fmt, net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::addresses::AddressSet;
use super::countries::Countries;
use super::lists::List;
use super::sources::Sources;
use crate::config::{GuardSettings, ListFile};
use crate::model::{Country, Reason};

/// The lists of one policy.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// `deny` and `deny-files`.
    pub deny: Addresses,
    /// `deny-countries`.
    pub deny_countries: Vec<Country>,
    /// `allow` and `allow-files`, where one of them is set.
    pub allow: Option<Addresses>,
    /// `allow-countries`, where it is set.
    pub allow_countries: Option<Vec<Country>>,
    /// Who knows countries.
    pub countries: Arc<Countries>,
}

/// Addresses that are listed in settings and in files.
#[derive(Clone, Debug, Default)]
pub struct Addresses {
    /// In settings.
    pub set: AddressSet,
    /// In files.
    pub files: Vec<Arc<List>>,
}

/// Why somebody is not let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// By `deny`.
    Address,
    /// By the file of that name.
    File(Arc<str>),
    /// By `deny-countries`.
    Country(Country),
    /// On none of the allow lists; the country, where countries matter and it is known.
    NotAllowed(Option<Country>),
}

impl Access {
    /// What a site's own files say, else gateway.toml.
    pub fn new(site: &GuardSettings, gateway: &GuardSettings, sources: &Sources) -> Self {
        let networks = |list: &Option<Vec<IpNet>>| list.iter().flatten().copied().collect::<AddressSet>();
        let files = |list: &Option<Vec<ListFile>>| list.iter().flatten().map(|file| sources.lists.open(file)).collect();
        let addresses = |set: &Option<Vec<IpNet>>, list: &Option<Vec<ListFile>>| {
            (set.is_some() || list.is_some()).then(|| Addresses { set: networks(set), files: files(list) })
        };
        fn nearest<T>(near: &Option<T>, far: &Option<T>) -> Option<T>
        where
            T: Clone,
        {
            near.as_ref().or(far.as_ref()).cloned()
        }
        let deny = (nearest(&site.deny, &gateway.deny), nearest(&site.deny_files, &gateway.deny_files));
        let allow = (nearest(&site.allow, &gateway.allow), nearest(&site.allow_files, &gateway.allow_files));
        Access {
            deny: addresses(&deny.0, &deny.1).unwrap_or_default(),
            deny_countries: nearest(&site.deny_countries, &gateway.deny_countries).unwrap_or_default(),
            allow: addresses(&allow.0, &allow.1),
            allow_countries: nearest(&site.allow_countries, &gateway.allow_countries),
            countries: sources.countries.clone(),
        }
    }

    /// Whether everybody is let in.
    pub fn is_open(&self) -> bool {
        self.deny.set.is_empty()
            && self.deny.files.is_empty()
            && self.deny_countries.is_empty()
            && self.allow.is_none()
            && self.allow_countries.is_none()
    }

    /// Whether a client is let in. One whose address isn't known, such as behind a Unix socket, is on no list.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, client: Option<IpAddr>) -> Result<(), Denied> {
        if let Some(client) = client {
            if self.deny.set.contains(client) {
                return Err(Denied::Address);
            }
            if let Some(list) = self.deny.files.iter().find(|list| list.contains(client)) {
                return Err(Denied::File(list.name().clone()));
            }
        }
        let by_country = !self.deny_countries.is_empty() || self.allow_countries.is_some();
        let country = client.filter(|_| by_country).and_then(|client| self.countries.country(client));
        if let Some(country) = country
            && self.deny_countries.contains(&country)
        {
            return Err(Denied::Country(country));
        }
        if self.allow.is_none() && self.allow_countries.is_none() {
            return Ok(());
        }
        let by_address = |allow: &Addresses| client.is_some_and(|client| allow.contains(client));
        let is_allowed = self.allow.as_ref().is_some_and(by_address)
            || self.allow_countries.as_ref().is_some_and(|list| country.is_some_and(|country| list.contains(&country)));
        if is_allowed { Ok(()) } else { Err(Denied::NotAllowed(country)) }
    }
}

impl Denied {
    /// What is counted.
    pub fn reason(&self) -> Reason {
        match self {
            Denied::Address | Denied::File(_) | Denied::NotAllowed(None) => Reason::Address,
            Denied::Country(_) | Denied::NotAllowed(Some(_)) => Reason::Country,
        }
    }
}

impl Addresses {
    fn contains(&self, address: IpAddr) -> bool {
        self.set.contains(address) || self.files.iter().any(|list| list.contains(address))
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Denied::Address => write!(f, "the address is in `deny`"),
            Denied::File(name) => write!(f, "the address is in {name}"),
            Denied::Country(country) => write!(f, "the country {country} is in `deny-countries`"),
            Denied::NotAllowed(Some(country)) => {
                write!(f, "the address is on no allow list, nor is the country {country}")
            }
            Denied::NotAllowed(None) => write!(f, "the address is on no allow list"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ListFile;
    use crate::guard::lists::Lists;
    use std::fs;

    fn addresses(networks: &[&str]) -> Addresses {
        Addresses { set: networks.iter().map(|network| network.parse::<IpNet>().unwrap()).collect(), files: vec![] }
    }

    #[test]
    fn who_is_denied_is_refused_and_an_allow_list_refuses_all_others() {
        let deny = || addresses(&["192.0.2.0/24"]);
        let allow = || Some(addresses(&["192.0.2.0/25", "198.51.100.0/24", "2001:db8::/32"]));
        let check = |access: &Access, client: Option<&str>| {
            let client = client.map(|client| client.parse().unwrap());
            access.check(client).err().map(|denied| denied.to_string())
        };
        let open = Access::default();
        let denying = Access { deny: deny(), ..Access::default() };
        let allowing = Access { allow: allow(), ..Access::default() };
        let both = Access { deny: deny(), allow: allow(), ..Access::default() };
        let closed = Access { allow: Some(Addresses::default()), ..Access::default() };
        let (denied, not_allowed) = (Some("the address is in `deny`"), Some("the address is on no allow list"));
        for (client, want) in [
            (Some("192.0.2.1"), [None, denied, None, denied, not_allowed]),
            (Some("192.0.2.200"), [None, denied, not_allowed, denied, not_allowed]),
            (Some("::ffff:192.0.2.1"), [None, denied, None, denied, not_allowed]),
            (Some("198.51.100.1"), [None, None, None, None, not_allowed]),
            (Some("2001:db8::1"), [None, None, None, None, not_allowed]),
            (Some("203.0.113.1"), [None, None, not_allowed, not_allowed, not_allowed]),
            (None, [None, None, not_allowed, not_allowed, not_allowed]),
        ] {
            let got = [&open, &denying, &allowing, &both, &closed].map(|access| check(access, client));
            assert_eq!(got.each_ref().map(|why| why.as_deref()), want, "{client:?}");
        }
    }

    #[test]
    fn lists_in_files_count_as_those_in_settings() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("deny.txt"), "192.0.2.1\n").unwrap();
        fs::write(dir.path().join("allow.txt"), "192.0.2.0/24\n").unwrap();
        let lists = Lists::new(dir.path());
        let list = |name: &str| {
            let file = ListFile { name: name.to_owned(), in_routes: true };
            Addresses { files: vec![lists.open(&file)], ..Addresses::default() }
        };
        let access = Access { deny: list("deny.txt"), allow: Some(list("allow.txt")), ..Access::default() };
        let check = |client: &str| access.check(Some(client.parse().unwrap()));
        assert_eq!(check("192.0.2.1").unwrap_err().to_string(), "the address is in deny.txt");
        assert_eq!(check("192.0.2.2"), Ok(()));
        assert_eq!(check("192.0.3.1"), Err(Denied::NotAllowed(None)));
    }
}
