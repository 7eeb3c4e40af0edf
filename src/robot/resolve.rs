//! Names → addresses.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ::url::{Host, Url};
use tokio::{net::lookup_host, time::Instant};

use super::Fault;

/// Which addresses may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Family {
    /// What comes first.
    #[default]
    Any,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Family {
    fn takes(self, address: IpAddr) -> bool {
        match self {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        }
    }
}

/// `HOST:PORT:ADDRESS[:PORT]`, as curl's `--resolve` and `--connect-to`: where a host is, whatever DNS says. The host `*` is
/// any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolve {
    host: String,
    port: u16,
    address: SocketAddr,
}

impl FromStr for Resolve {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fault = || format!("`{text}` is not HOST:PORT:ADDRESS, such as `www.example.org:443:10.0.0.1`");
        let (host, rest) = text.split_once(':').filter(|(host, _)| !host.is_empty()).ok_or_else(fault)?;
        let (port, address) = rest.split_once(':').ok_or_else(fault)?;
        let port = port.parse().map_err(|_| fault())?;
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        let address = match (address.parse(), bare.parse::<IpAddr>()) {
            (Ok(address), _) => address,
            (_, Ok(ip)) => SocketAddr::new(ip, port),
            _ => return Err(fault()),
        };
        Ok(Resolve { host: host.to_ascii_lowercase(), port, address })
    }
}

type Answer = Result<Arc<[IpAddr]>, Fault>;

/// Asks the system, and remembers for a minute what it said.
#[derive(Debug)]
pub(super) struct Resolver {
    fixed: Vec<Resolve>,
    known: Mutex<HashMap<Box<str>, (Instant, Answer)>>,
}

impl Resolver {
    pub fn new(fixed: Vec<Resolve>) -> Self {
        Resolver { fixed, known: Mutex::default() }
    }

    /// Addresses of a URL's host, in the order in which to try them.
    pub async fn addresses(&self, url: &Url, family: Family) -> Result<Vec<SocketAddr>, Fault> {
        let port = url.port_or_known_default().ok_or(Fault::Url)?;
        let name = url.host_str().ok_or(Fault::Url)?;
        let fixed = |host: &str| -> Vec<SocketAddr> {
            let fits = self.fixed.iter().filter(|fixed| fixed.port == port && fixed.host == host);
            fits.map(|fixed| fixed.address).collect()
        };
        // Who is named is meant rather than anybody.
        let named = [fixed(name), fixed("*")].into_iter().find(|named| !named.is_empty());
        let all: Vec<SocketAddr> = if let Some(named) = named {
            named
        } else {
            let ips: Arc<[IpAddr]> = match url.host().ok_or(Fault::Url)? {
                Host::Ipv4(ip) => Arc::new([ip.into()]),
                Host::Ipv6(ip) => Arc::new([ip.into()]),
                Host::Domain(name) => self.ask(name).await?,
            };
            ips.iter().map(|&ip| SocketAddr::new(ip, port)).collect()
        };
        let all: Vec<SocketAddr> = all.into_iter().filter(|address| family.takes(address.ip())).take(TRIED).collect();
        match (all.is_empty(), family) {
            (false, _) => Ok(all),
            (true, Family::V4) => Err(Fault::Resolve(format!("{name} has no IPv4 address"))),
            (true, Family::V6) => Err(Fault::Resolve(format!("{name} has no IPv6 address"))),
            (true, Family::Any) => Err(Fault::Resolve(format!("{name} has no address"))),
        }
    }

    async fn ask(&self, name: &str) -> Answer {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((asked, answer)) = known().get(name)
            && asked.elapsed() < FRESH
        {
            return answer.clone();
        }
        let answer = match lookup_host((name, 0)).await {
            Ok(found) => Ok(found.map(|address| address.ip()).collect::<Vec<_>>().into()),
            Err(error) => Err(Fault::Resolve(format!("{name} is not known to DNS ({error})"))),
        };
        let mut known = known();
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(name.into(), (Instant::now(), answer.clone()));
        answer
    }
}

/// How long an answer is believed.
const FRESH: Duration = Duration::from_secs(60);

/// Names that are remembered.
const KNOWN: usize = 16_384;

/// Addresses of a host that are tried.
const TRIED: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_as_curl_has_them() {
        let resolve = |text: &str| text.parse::<Resolve>().map(|r| (r.host, r.port, r.address.to_string()));
        let ok = |host: &str, port, address: &str| Ok((host.to_owned(), port, address.to_owned()));
        assert_eq!(resolve("A.example:443:10.0.0.1"), ok("a.example", 443, "10.0.0.1:443"));
        assert_eq!(resolve("*:80:127.0.0.1:8080"), ok("*", 80, "127.0.0.1:8080"));
        assert_eq!(resolve("a.example:80:[::1]"), ok("a.example", 80, "[::1]:80"));
        assert_eq!(resolve("a.example:80:::1"), ok("a.example", 80, "[::1]:80"));
        assert_eq!(resolve("a.example:80:[::1]:81"), ok("a.example", 80, "[::1]:81"));
        for bad in ["", "a.example", "a.example:80", ":80:10.0.0.1", "a:b:10.0.0.1", "a:80:b.example"] {
            assert!(resolve(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn families_are_kept_apart() {
        let resolver =
            Resolver::new(vec!["a.example:80:10.0.0.1".parse().unwrap(), "a.example:80:::1".parse().unwrap()]);
        let url: Url = "http://a.example/".parse().unwrap();
        let both = resolver.addresses(&url, Family::Any).await.unwrap();
        assert_eq!(both.len(), 2);
        assert_eq!(resolver.addresses(&url, Family::V6).await.unwrap(), both[1..]);
        let fault = resolver.addresses(&"http://10.0.0.1/".parse().unwrap(), Family::V6).await.unwrap_err();
        assert_eq!(fault.to_string(), "10.0.0.1 has no IPv6 address");
    }
}
