//! Sets of networks of a rule: small ones, looked up by halving.

use std::net::IpAddr;

use ipnet::IpNet;

/// Networks, merged and sorted.
#[derive(Clone, Debug, Default)]
pub(super) struct Networks {
    /// First and last address of each, as numbers.
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Networks {
    pub fn new(networks: &[IpNet]) -> Self {
        let of = |is_v4: bool| {
            let ranges = networks.iter().filter(|net| net.addr().is_ipv4() == is_v4);
            merged(ranges.map(|net| (number(net.network()), number(net.broadcast()))).collect())
        };
        Networks { v4: of(true), v6: of(false) }
    }

    /// Whether an address is in one of them. An IPv4 address in IPv6's clothes counts as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let ranges = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        let number = number(address);
        let at = ranges.partition_point(|&(first, _)| first <= number);
        at > 0 && number <= ranges[at - 1].1
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut out: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match out.last_mut() {
            Some(before) if first <= before.1 => before.1 = before.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_found_in_their_networks() {
        let list = ["10.0.0.0/8", "10.1.0.0/16", "203.0.113.9/32", "2001:db8::/32", "0.0.0.0/32"];
        let networks = Networks::new(&list.map(|text| text.parse().unwrap()));
        let contains = |text: &str| networks.contains(text.parse().unwrap());
        for inside in
            ["10.0.0.0", "10.1.2.3", "10.255.255.255", "203.0.113.9", "::ffff:10.2.3.4", "2001:db8:1::", "0.0.0.0"]
        {
            assert!(contains(inside), "{inside}");
        }
        for outside in ["9.255.255.255", "11.0.0.0", "203.0.113.8", "::a00:1", "2001:db9::", "255.255.255.255", "::"] {
            assert!(!contains(outside), "{outside}");
        }
        assert!(!Networks::new(&["::/0".parse().unwrap()]).contains("10.0.0.1".parse().unwrap()));
    }
}
