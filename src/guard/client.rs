//! Whom limits are for.

use std::net::IpAddr;

/// What limits take for one client: an IPv4 address, or the network that one IPv6 customer has (a /64).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Client {
    bits: u64,
    is_v6: bool,
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        // An IPv4 peer of an IPv6 socket comes as ::ffff:a.b.c.d.
        match address.to_canonical() {
            IpAddr::V4(address) => Client { bits: u64::from(address.to_bits()), is_v6: false },
            IpAddr::V6(address) => Client { bits: (address.to_bits() >> 64) as u64, is_v6: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_an_address_or_a_customers_network() {
        let client = |text: &str| Client::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(client("192.0.2.1"), client("::ffff:192.0.2.1"));
        assert_ne!(client("192.0.2.1"), client("192.0.2.2"));
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:1"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        // The network that has the same bits as an IPv4 address.
        assert_ne!(client("192.0.2.1"), client("0:0:c000:201::1"));
    }
}
