//! One entry of a list of addresses: an address or a prefix, in a setting or on a line of a file.

use std::{net::IpAddr, str::FromStr};

use ipnet::IpNet;
use thiserror::Error;

/// A network as somebody wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    /// The network, without host bits.
    pub network: IpNet,
    /// Whether what was written had bits beyond its prefix, so that its author may have meant something else.
    pub has_host_bits: bool,
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum NetworkError {
    /// The part before the slash, or all of it.
    #[error("no IP address")]
    Address,
    /// What stands after the slash.
    #[error("no prefix: an IPv4 address has 32 bits, an IPv6 address 128")]
    Length,
}

impl NetworkError {
    /// What to write instead.
    pub const HINT: &str = "an address or a prefix, such as `192.0.2.7`, `192.0.2.0/24` or `2001:db8::/32`";
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| NetworkError::Address)?;
        let length = match length {
            // No sign and no zero in front, which some read as octal.
            Some(digits) if digits.starts_with(['+', '0']) && digits != "0" => return Err(NetworkError::Length),
            Some(digits) => digits.parse().map_err(|_| NetworkError::Length)?,
            None if address.is_ipv4() => 32,
            None => 128,
        };
        let written = IpNet::new(address, length).map_err(|_| NetworkError::Length)?;
        let network = written.trunc();
        Ok(Network { network, has_host_bits: network != written })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_prefixes_are_networks() {
        for (text, want, has_host_bits) in [
            ("192.0.2.7", "192.0.2.7/32", false),
            ("192.0.2.0/24", "192.0.2.0/24", false),
            ("192.0.2.7/24", "192.0.2.0/24", true),
            ("0.0.0.0/0", "0.0.0.0/0", false),
            ("2001:DB8::/32", "2001:db8::/32", false),
            ("::1", "::1/128", false),
            ("::ffff:192.0.2.1", "::ffff:192.0.2.1/128", false),
        ] {
            let want = Network { network: want.parse().unwrap(), has_host_bits };
            assert_eq!(text.parse(), Ok(want), "{text}");
        }
        for (text, want) in [
            ("", NetworkError::Address),
            ("192.0.2", NetworkError::Address),
            ("192.0.2.01", NetworkError::Address),
            ("192.0.2.1-192.0.2.9", NetworkError::Address),
            ("example.org", NetworkError::Address),
            (" 192.0.2.1", NetworkError::Address),
            ("192.0.2.1/33", NetworkError::Length),
            ("192.0.2.1/", NetworkError::Length),
            ("192.0.2.1/+8", NetworkError::Length),
            ("192.0.2.1/08", NetworkError::Length),
            ("192.0.2.1/255.255.255.0", NetworkError::Length),
            ("2001:db8::/129", NetworkError::Length),
        ] {
            assert_eq!(text.parse::<Network>(), Err(want), "{text}");
        }
    }
}
