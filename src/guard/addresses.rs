//! Sets of addresses, and who the client behind trusted proxies is.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::Fields;

/// A set of IPv4 and IPv6 networks, made once and then only asked: sorted ranges that neither overlap nor touch, so that
/// a look-up is one binary search, whatever the list was like.
///
/// An IPv4 address that is mapped into IPv6 (`::ffff:a.b.c.d`, RFC 4291, 2.5.5.2) is that IPv4 address, in the set and
/// in what it is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AddressSet {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
}

/// Ranges, both ends included. The search touches the starts alone, so they lie together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Ranges<T> {
    starts: Box<[T]>,
    ends: Box<[T]>,
}

impl AddressSet {
    /// Whether an address is in one of the networks.
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => self.v4.contains(address.to_bits()),
            IpAddr::V6(address) => self.v6.contains(address.to_bits()),
        }
    }

    /// Whether no address is in it.
    pub fn is_empty(&self) -> bool {
        self.v4.starts.is_empty() && self.v6.starts.is_empty()
    }

    /// How many ranges are left of the networks.
    pub fn ranges(&self) -> usize {
        self.v4.starts.len() + self.v6.starts.len()
    }

    /// What it takes in memory, in bytes.
    pub fn bytes(&self) -> usize {
        self.v4.starts.len() * 2 * size_of::<u32>() + self.v6.starts.len() * 2 * size_of::<u128>()
    }
}

impl FromIterator<IpNet> for AddressSet {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for network in networks {
            match canonical(network) {
                IpNet::V4(network) => v4.push((network.network().to_bits(), network.broadcast().to_bits())),
                IpNet::V6(network) => v6.push((network.network().to_bits(), network.broadcast().to_bits())),
            }
        }
        AddressSet { v4: Ranges::new(v4, |end| end.checked_add(1)), v6: Ranges::new(v6, |end| end.checked_add(1)) }
    }
}

impl<T: Copy + Ord> Ranges<T> {
    fn new(mut ranges: Vec<(T, T)>, next: impl Fn(T) -> Option<T>) -> Self {
        ranges.sort_unstable();
        ranges.dedup_by(|range, before| {
            // After the end of all addresses nothing can come that isn't within.
            let joins = next(before.1).is_none_or(|next| range.0 <= next);
            if joins {
                before.1 = before.1.max(range.1);
            }
            joins
        });
        let (starts, ends): (Vec<T>, Vec<T>) = ranges.into_iter().unzip();
        Ranges { starts: starts.into(), ends: ends.into() }
    }

    fn contains(&self, address: T) -> bool {
        let after = self.starts.partition_point(|&start| start <= address);
        after.checked_sub(1).and_then(|at| self.ends.get(at)).is_some_and(|&end| address <= end)
    }
}

/// A network of mapped IPv4 addresses is one of IPv4.
fn canonical(network: IpNet) -> IpNet {
    if let IpNet::V6(v6) = network
        && let Some(bits) = v6.prefix_len().checked_sub(MAPPED_BITS)
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Ok(v4) = Ipv4Net::new(v4, bits)
    {
        return IpNet::V4(v4);
    }
    network
}

/// Who the client is, where proxies stand in front: `peer` is whom the connection (or its PROXY header) comes from, and
/// `trusted` whether its word counts.
///
/// Each proxy adds to `X-Forwarded-For`, on the right, whom it was called by, so the list is read from the right for as
/// long as those who wrote it are `proxies`: the first that is none is the client, and what stands left of it is only its
/// word. What is no address ends the walk at the last one that was good, and so does the end of the list. Several lines
/// are one list (RFC 9110, 5.3), and a port, as some proxies write it, is left out. `Forwarded` (RFC 7239) is not read.
pub fn client(peer: Option<IpAddr>, trusted: bool, fields: &dyn Fields, proxies: &AddressSet) -> Option<IpAddr> {
    if !trusted {
        return peer;
    }
    // As far as the lines go that have been told: whom the walk ends at, if it comes so far to the left.
    let mut client = None;
    fields.each("x-forwarded-for", &mut |line| {
        let mut last_good = None;
        for item in line.rsplit(|&b| b == b',').map(<[u8]>::trim_ascii) {
            // Empty items don't count (RFC 9110, 5.6.1.2).
            if item.is_empty() {
                continue;
            }
            let found = address(item);
            last_good = found.or(last_good);
            if !found.is_some_and(|address| proxies.contains(address)) {
                client = last_good;
                return;
            }
        }
        client = client.or(last_good);
    });
    client.or(peer)
}

/// An item of `X-Forwarded-For`: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]` or `[2001:db8::1]:80`.
fn address(item: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(item).ok()?;
    let address = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            if !port.is_empty() {
                port.strip_prefix(':')?.parse::<u16>().ok()?;
            }
            IpAddr::V6(address.parse().ok()?)
        }
        None => match text.split_once(':') {
            Some((v4, port)) if v4.contains('.') => {
                port.parse::<u16>().ok()?;
                IpAddr::V4(v4.parse().ok()?)
            }
            _ => text.parse().ok()?,
        },
    };
    Some(address.to_canonical())
}

/// Length of the prefix in front of a mapped IPv4 address.
const MAPPED_BITS: u8 = 96;

#[cfg(test)]
mod tests {
    use super::*;
    use ipnet::Ipv6Net;
    use proptest::prelude::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn fields(lines: &[impl ToString]) -> Vec<(String, String)> {
        lines.iter().map(|line| ("X-Forwarded-For".to_owned(), line.to_string())).collect()
    }

    fn set(networks: &[&str]) -> AddressSet {
        networks.iter().map(|network| network.parse::<IpNet>().unwrap()).collect()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_address_is_in_the_set_that_holds_its_network() {
        let some = set(&["192.0.2.0/25", "198.51.100.7/32", "2001:db8::/48", "::ffff:203.0.113.0/120"]);
        for (address, want) in [
            ("192.0.2.0", true),
            ("192.0.2.127", true),
            ("192.0.2.128", false),
            ("192.0.1.255", false),
            ("::ffff:192.0.2.1", true),
            ("198.51.100.7", true),
            ("198.51.100.8", false),
            ("203.0.113.255", true),
            ("::ffff:203.0.113.1", true),
            ("203.0.114.0", false),
            ("2001:db8::", true),
            ("2001:db8:0:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:db8:1::", false),
            ("::192.0.2.1", false),
        ] {
            assert_eq!(some.contains(ip(address)), want, "{address}");
        }
        assert!(!AddressSet::default().contains(ip("::")) && AddressSet::default().is_empty());
        let all = set(&["0.0.0.0/0", "255.255.255.255/32", "::/0", "ffff::/16"]);
        assert_eq!(all.ranges(), 2);
        for address in ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"] {
            assert!(all.contains(ip(address)), "{address}");
        }
    }

    #[test]
    fn neighbours_and_duplicates_are_one_range() {
        assert_eq!(set(&["10.0.0.0/24", "10.0.1.0/24", "10.0.0.0/25", "10.0.0.0/24"]).ranges(), 1);
        assert_eq!(set(&["10.0.0.0/24", "10.0.1.1/32"]).ranges(), 2);
        // Host bits are no part of a network.
        assert_eq!(set(&["10.0.0.9/24"]), set(&["10.0.0.0/24"]));
    }

    /// Few bits vary, so that networks meet and addresses hit.
    fn network() -> impl Strategy<Value = IpNet> {
        prop_oneof![
            (crowded(), 0..=32u8)
                .prop_map(|(bits, len)| { IpNet::V4(Ipv4Net::new(Ipv4Addr::from_bits(bits), len).unwrap()) }),
            (crowded(), crowded(), 0..=128u8).prop_map(|(high, low, len)| {
                let address = Ipv6Addr::from_bits(u128::from(high) << 96 | u128::from(low));
                IpNet::V6(Ipv6Net::new(address, len).unwrap())
            }),
            (crowded(), 96..=128u8).prop_map(|(bits, len)| {
                IpNet::V6(Ipv6Net::new(Ipv4Addr::from_bits(bits).to_ipv6_mapped(), len).unwrap())
            }),
        ]
    }

    fn crowded() -> impl Strategy<Value = u32> {
        prop_oneof![any::<u32>().prop_map(|bits| bits & 0xc000_0307), Just(0), Just(u32::MAX), any::<u32>()]
    }

    fn any_address() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            crowded().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
            crowded().prop_map(|bits| IpAddr::V6(Ipv4Addr::from_bits(bits).to_ipv6_mapped())),
            (crowded(), crowded())
                .prop_map(|(high, low)| IpAddr::V6(Ipv6Addr::from_bits(u128::from(high) << 96 | u128::from(low)))),
        ]
    }

    /// What the set means, one network after the other.
    fn naive(networks: &[IpNet], address: IpAddr) -> bool {
        networks.iter().any(|network| match (canonical(*network), address.to_canonical()) {
            (IpNet::V4(network), IpAddr::V4(address)) => network.contains(&address),
            (IpNet::V6(network), IpAddr::V6(address)) => network.contains(&address),
            _ => false,
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_set_is_its_networks(
            networks in prop::collection::vec(network(), 0..24),
            addresses in prop::collection::vec(any_address(), 1..24),
        ) {
            let set: AddressSet = networks.iter().copied().collect();
            // Most of all where networks begin and end.
            let edges = networks.iter().flat_map(|network| {
                let (first, last) = (network.network(), network.broadcast());
                [Some(first), Some(last), step(first, -1), step(last, 1)]
            });
            for address in addresses.into_iter().chain(edges.flatten()) {
                prop_assert_eq!(set.contains(address), naive(&networks, address), "{} in {:?}", address, networks);
            }
        }

        #[test]
        fn nobody_but_proxies_says_who_the_client_is(
            start in prop::option::of(any_address()),
            trusted in any::<bool>(),
            lines in prop::collection::vec(prop::collection::vec(prop_oneof![
                4 => any_address().prop_map(|address| address.to_string()),
                1 => any_address().prop_map(|address| if address.is_ipv4() { format!("{address}:80") } else { format!("[{address}]:80") }),
                1 => "[ -~]{0,8}",
                1 => "[ \t]{0,2}",
            ], 0..4), 0..4),
            proxies in prop::collection::vec(network(), 0..6),
        ) {
            let proxies: AddressSet = proxies.into_iter().collect();
            let text: Vec<String> = lines.iter().map(|items| items.join(" , ")).collect();
            let found = client(start, trusted, &fields(&text), &proxies);
            // The same list, read as a whole.
            let list = text.join(",");
            let mut items: Vec<&str> = list.split(',').map(str::trim_ascii).filter(|item| !item.is_empty()).collect();
            if !trusted {
                items.clear();
            }
            let mut want = start;
            while let Some(address) = items.pop().and_then(|item| address(item.as_bytes())) {
                want = Some(address);
                if !proxies.contains(address) {
                    break;
                }
            }
            prop_assert_eq!(found, want);
            // What an untrusted client puts in front changes nothing.
            if let Some(found) = found && trusted && !proxies.contains(found) && Some(found) != start {
                let forged = ["198.51.100.1, garbage".to_owned()].into_iter().chain(text).collect::<Vec<_>>();
                prop_assert_eq!(client(start, true, &fields(&forged), &proxies), Some(found));
            }
        }

        #[test]
        fn no_header_makes_the_walk_fail(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..4)) {
            struct Raw(Vec<Vec<u8>>);
            impl Fields for Raw {
                fn each(&self, _name: &str, tell: &mut dyn FnMut(&[u8])) {
                    self.0.iter().for_each(|line| tell(line));
                }
            }
            let found = client(Some(ip("192.0.2.1")), true, &Raw(lines), &set(&["::/0", "0.0.0.0/0"]));
            prop_assert!(found.is_some());
        }
    }

    fn step(address: IpAddr, by: i8) -> Option<IpAddr> {
        Some(match address {
            IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits().checked_add_signed(by.into())?)),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits().checked_add_signed(by.into())?)),
        })
    }

    #[test]
    fn the_client_is_the_first_from_the_right_that_is_no_proxy() {
        let proxies = set(&["10.0.0.0/8", "2001:db8::/32"]);
        let from = |start: &str, lines: &[&str]| {
            let start = Some(ip(start));
            client(start, true, &fields(lines), &proxies).unwrap().to_string()
        };
        for (lines, want) in [
            (&[][..], "10.0.0.1"),
            (&[""], "10.0.0.1"),
            (&["192.0.2.1"], "192.0.2.1"),
            (&["198.51.100.9, 192.0.2.1"], "192.0.2.1"),
            (&["198.51.100.9, 192.0.2.1, 10.2.3.4"], "192.0.2.1"),
            (&["198.51.100.9, 192.0.2.1", "10.2.3.4,2001:db8::7"], "192.0.2.1"),
            (&["192.0.2.1", "10.2.3.4"], "192.0.2.1"),
            (&["10.9.9.9, 10.2.3.4"], "10.9.9.9"),
            (&["192.0.2.1, unknown, 10.2.3.4"], "10.2.3.4"),
            (&["192.0.2.1, unknown"], "10.0.0.1"),
            (&["192.0.2.1:4711"], "192.0.2.1"),
            (&["[2001:db9::1]:4711, 10.0.0.2:80"], "2001:db9::1"),
            (&["2001:db9::1"], "2001:db9::1"),
            (&["192.0.2.1", "garbage", "10.2.3.4"], "10.2.3.4"),
            (&["192.0.2.1", "garbage"], "10.0.0.1"),
            (&["192.0.2.1", "garbage", ""], "10.0.0.1"),
            (&["10.3.3.3", "10.2.2.2, ", " ,10.1.1.1"], "10.3.3.3"),
            (&["[2001:db9::1]"], "2001:db9::1"),
            (&["::ffff:192.0.2.1"], "192.0.2.1"),
            (&["192.0.2.1, ,, "], "192.0.2.1"),
            (&["192.0.2.1:"], "10.0.0.1"),
            (&["192.0.2.1:99999"], "10.0.0.1"),
            (&["[192.0.2.1]"], "10.0.0.1"),
            (&["[2001:db9::1]x"], "10.0.0.1"),
            (&["192.0.2.01"], "10.0.0.1"),
            (&["0x7f.1"], "10.0.0.1"),
            (&["\"192.0.2.1\""], "10.0.0.1"),
            (&["fe80::1%eth0"], "10.0.0.1"),
        ] {
            assert_eq!(from("10.0.0.1", lines), want, "{lines:?}");
        }
        let forged = fields(&["192.0.2.1"]);
        assert_eq!(client(Some(ip("203.0.113.5")), false, &forged, &proxies), Some(ip("203.0.113.5")));
        assert_eq!(client(None, true, &forged, &proxies), Some(ip("192.0.2.1")));
        assert_eq!(client(None, true, &fields(&[""]), &proxies), None);
    }
}
