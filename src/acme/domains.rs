//! Registered domains: what authorities count certificates by.

/// The registered domain of a name (canonical, `*.` allowed): the label before its public suffix, with that suffix, as
/// the public suffix list has it (publicsuffix.org, compiled in). `gov.cn` is a suffix, so `jyj.qingshan.gov.cn` is of
/// `qingshan.gov.cn`. A name that is a suffix itself stands for itself.
pub fn registered(name: &str) -> &str {
    let name = name.strip_prefix("*.").unwrap_or(name);
    psl::domain_str(name).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_county_is_one_registered_domain() {
        for (name, want) in [
            ("jyj.qingshan.gov.cn", "qingshan.gov.cn"),
            ("qingshan.gov.cn", "qingshan.gov.cn"),
            ("*.jyj.qingshan.gov.cn", "qingshan.gov.cn"),
            ("www.hn.gov.cn", "hn.gov.cn"),
            ("gov.cn", "gov.cn"),
            ("a.b.example", "b.example"),
            ("xn--55qx5d.cn", "xn--55qx5d.cn"),
            ("a.b.com.cn", "b.com.cn"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(registered(name), want, "{name}");
        }
    }
}
