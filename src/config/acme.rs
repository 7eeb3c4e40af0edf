//! `[acme]`: who issues certificates by itself, how names are proven, and what may be asked of the authority.

use std::path::{Path, PathBuf};

use ipnet::IpNet;

use super::admin::Source;
use super::diagnostic::Diagnostic;
use super::keys::{Key, Kind, key};
use super::reader::{At, Table};

/// The checked settings of `[acme]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcmeSettings {
    /// URL of the authority's directory; nothing is ordered without it.
    pub directory: Option<String>,
    /// Certificates (PEM) that the authority's own HTTPS is verified by; those that browsers know where absent.
    pub root: Option<PathBuf>,
    /// Whom the authority may write to: `mailto:` URLs.
    pub contact: Vec<String>,
    /// Whether the operator agrees to the authority's terms.
    pub agrees: bool,
    /// The account at the authority that this one is bound to: its name there, and the file of its key (base64url).
    pub binding: Option<(String, PathBuf)>,
    /// Kind of certificates, among those that the authority offers.
    pub profile: Option<String>,
    /// How names are proven that are no wildcards.
    pub challenge: Challenge,
    /// Command that publishes DNS records: a program and its first arguments.
    pub dns_hook: Vec<String>,
    /// Seconds between a record's publication and the authority's look at it.
    pub dns_wait: u64,
    /// Where names have to lead, if the operator says so.
    pub addresses: Vec<IpNet>,
    /// DNS servers that are asked where names lead; the system's where there are none.
    pub dns: Vec<std::net::SocketAddr>,
    /// Whether names are tried before they are ordered.
    pub preflight: bool,
    /// Port at which the authority asks; 0 is that of the kind of challenge.
    pub port: u16,
    /// What may be asked of the authority.
    pub limits: AcmeLimits,
}

/// How a name is proven (RFC 8555, section 8, and RFC 8737).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Challenge {
    /// A file by plain HTTP.
    #[default]
    Http01,
    /// A certificate in a handshake.
    TlsAlpn01,
    /// A DNS record.
    Dns01,
}

/// What an authority gives one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcmeLimits {
    /// Names of one certificate.
    pub names: usize,
    /// Certificates of one registered domain in 7 days.
    pub certificates: u32,
    /// Orders in 3 hours.
    pub orders: u32,
    /// Certificates of the same names in 7 days.
    pub duplicates: u32,
    /// Failed validations of one name in an hour.
    pub failures: u32,
}

impl Challenge {
    const WORDS: &[&str] = &["http-01", "tls-alpn-01", "dns-01"];

    /// As it is written in files and in the protocol.
    pub fn name(self) -> &'static str {
        Self::WORDS[self as usize]
    }
}

impl AcmeSettings {
    /// A knob as TOML; none if it has no value.
    pub(super) fn knob(&self, name: &str) -> Option<String> {
        let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let path = |path: &Path| quote(&path.to_string_lossy());
        let list = |items: &mut dyn Iterator<Item = String>| {
            format!("[{}]", items.map(|item| quote(&item)).collect::<Vec<_>>().join(", "))
        };
        Some(match name {
            "directory" => quote(self.directory.as_ref()?),
            "root" => path(self.root.as_ref()?),
            "contact" => list(&mut self.contact.iter().cloned()),
            "agree-terms" => self.agrees.to_string(),
            "eab-id" => quote(&self.binding.as_ref()?.0),
            "eab-key-file" => path(&self.binding.as_ref()?.1),
            "profile" => quote(self.profile.as_ref()?),
            "challenge" => quote(self.challenge.name()),
            "dns-hook" => list(&mut self.dns_hook.iter().cloned()),
            "dns-wait" => self.dns_wait.to_string(),
            "addresses" => list(&mut self.addresses.iter().map(ToString::to_string)),
            "dns" => list(&mut self.dns.iter().map(ToString::to_string)),
            "preflight" => self.preflight.to_string(),
            "challenge-port" => self.port.to_string(),
            "names" => self.limits.names.to_string(),
            "certificates" => self.limits.certificates.to_string(),
            "orders" => self.limits.orders.to_string(),
            "duplicates" => self.limits.duplicates.to_string(),
            "failures" => self.limits.failures.to_string(),
            _ => return None,
        })
    }
}

/// Reads `[acme]`. `default_top` has the defaults of all keys; `addresses` and `dns` are parsed already.
pub(super) fn read(
    source: &Source<'_>,
    default_top: &Table,
    (addresses, dns): (Vec<IpNet>, Vec<std::net::SocketAddr>),
    faults: &mut Vec<Diagnostic>,
) -> AcmeSettings {
    let own = source.top.table("acme").map(|at| at.value);
    let tables = || [own, default_top.table("acme").map(|at| at.value)].into_iter().flatten();
    let text = |key: &str| tables().find_map(|table| table.text(key)).map(|at| at.value.clone()).unwrap_or_default();
    let texts = |key: &str| tables().find_map(|table| table.texts(key)).map(|at| at.value.as_slice()).unwrap_or(&[]);
    let flag = |key: &str| tables().find_map(|table| table.bool(key)).is_some_and(|at| *at.value);
    // The table of keys bounds every number.
    let number = |key: &str| tables().find_map(|table| table.number(key)).map_or(0, |at| *at.value);
    let small = |key: &str| u32::try_from(number(key)).unwrap_or_default();
    let file = |key: &str| own.and_then(|table| table.text(key)).map(|at| source.folder.join(at.value));

    let directory = own.and_then(|table| table.text("directory")).and_then(|at| directory(source, at, faults));
    let mut error = |key: &str, message: &str, hint: &str| {
        let span = own.and_then(|table| table.text(key).map(|at| at.span));
        let span = span.or_else(|| source.top.table("acme").map(|at| at.span)).unwrap_or(0..0);
        faults.push(source.file.error("bad-value", span, message).hint(hint));
    };
    let (id, secret) = (own.and_then(|table| table.text("eab-id")), file("eab-key-file"));
    let binding = match (id, secret) {
        (Some(id), Some(secret)) => Some((id.value.clone(), secret)),
        (None, None) => None,
        (Some(_), None) => {
            error("eab-id", "an external account has a key, too", "name the file that holds it: eab-key-file");
            None
        }
        (None, Some(_)) => {
            error("eab-key-file", "an external account has a name, too", "give it as eab-id");
            None
        }
    };
    let challenge = match text("challenge").as_str() {
        "tls-alpn-01" => Challenge::TlsAlpn01,
        "dns-01" => Challenge::Dns01,
        // The reader has refused other words.
        _ => Challenge::Http01,
    };
    let dns_hook: Vec<String> = texts("dns-hook").iter().map(|at| at.value.clone()).collect();
    if challenge == Challenge::Dns01 && dns_hook.is_empty() {
        let hint = "name the command as dns-hook; it is run with `add` or `remove`, the record's name and its value";
        error("challenge", "dns-01 needs a command that publishes DNS records", hint);
    }
    let agrees = flag("agree-terms");
    if directory.is_some() && !agrees {
        let hint = "read them (the directory names them as termsOfService), and say agree-terms = true";
        error("directory", "no certificate is issued unless you agree to the authority's terms", hint);
    }
    let mut contact = Vec::new();
    for at in texts("contact") {
        if at
            .value
            .strip_prefix("mailto:")
            .is_some_and(|address| address.contains('@') && !address.contains(['?', ',']))
        {
            contact.push(at.value.clone());
        } else {
            let fault = source.file.error("bad-value", at.span.clone(), format!("`{}` is no contact", at.value));
            faults.push(fault.hint("authorities write to one mail address at a time: `mailto:webmaster@example.org`"));
        }
    }
    AcmeSettings {
        directory,
        root: file("root"),
        contact,
        agrees,
        binding,
        profile: own.and_then(|table| table.text("profile")).map(|at| at.value.clone()),
        challenge,
        dns_hook,
        dns_wait: number("dns-wait") as u64,
        addresses,
        dns,
        preflight: flag("preflight"),
        port: u16::try_from(number("challenge-port")).unwrap_or_default(),
        limits: AcmeLimits {
            names: number("names") as usize,
            certificates: small("certificates"),
            orders: small("orders"),
            duplicates: small("duplicates"),
            failures: small("failures"),
        },
    }
}

fn directory(source: &Source<'_>, at: At<&String>, faults: &mut Vec<Diagnostic>) -> Option<String> {
    let why = match at.value.parse::<http::Uri>() {
        Ok(uri) if uri.scheme_str() != Some("https") => "it does not begin with https://",
        Ok(uri) if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) => "it has a user name",
        Ok(_) => return Some(at.value.clone()),
        Err(_) => "it is no URL",
    };
    let fault = source.file.error("bad-value", at.span, format!("this is no directory of an authority: {why}"));
    faults.push(fault.hint("such as `https://acme-v02.api.letsencrypt.org/directory`"));
    None
}

/// `[acme]`.
pub(super) const ACME: &[Key] = &[
    key(
        "directory",
        Kind::Text,
        "",
        "URL of the directory of an authority that speaks ACME (RFC 8555), such as `https://acme-v02.api.letsencrypt.org/directory`. Where absent, nothing is ordered. Hosts that a valid certificate in `certs` covers are never ordered; those of sites with acme = false neither.",
    ),
    key(
        "root",
        Kind::Text,
        "",
        "File of certificates (PEM) by which the authority's own HTTPS is verified; relative to this file's folder. Where absent, those that browsers know.",
    ),
    key("contact", Kind::Texts, "[]", "Whom the authority may write to: `mailto:webmaster@example.org`."),
    key(
        "agree-terms",
        Kind::Bool,
        "false",
        "Whether you agree to the authority's terms of service. Without it, nothing is ordered.",
    ),
    key(
        "eab-id",
        Kind::Text,
        "",
        "Key identifier of the external account that the authority gave you, if it wants one.",
    ),
    key(
        "eab-key-file",
        Kind::Text,
        "",
        "File with the external account's HMAC key in base64url, as the authority gave it; relative to this file's folder.",
    ),
    key(
        "profile",
        Kind::Text,
        "",
        "Which of the kinds of certificates that the authority offers (`profiles` in its directory); its own choice where absent.",
    ),
    key(
        "challenge",
        Kind::Word(Challenge::WORDS),
        "\"http-01\"",
        "How it is proven that a name leads here. `http-01`: the gateway answers at /.well-known/acme-challenge/ on port 80, before any redirect. `tls-alpn-01`: in handshakes on port 443. `dns-01`: by `dns-hook`. Wildcards are always proven by `dns-01`, and not ordered without a hook.",
    ),
    key(
        "dns-hook",
        Kind::Texts,
        "[]",
        "Command (a program and its arguments, no shell) that publishes DNS records for `dns-01`. It is run with three more arguments: `add` or `remove`, the record's name (`_acme-challenge.example.org`), and the value of its TXT record; it succeeds when it exits with 0 within five minutes. Values of one name are added to one another.",
    ),
    key(
        "dns-wait",
        Kind::Number(0, 3600),
        "30",
        "Seconds between a record's publication and the authority's look at it, so that every DNS server has it.",
    ),
    key(
        "addresses",
        Kind::Texts,
        "[]",
        "Addresses of this fleet, or networks: a name is ordered only if all its A and AAAA records are among them. Where none are listed, it is enough that a gateway of this fleet answers at each.",
    ),
    key(
        "dns",
        Kind::Texts,
        "[]",
        "DNS servers (`192.0.2.53:53`) that are asked where names lead; the system's where none are listed.",
    ),
    key(
        "preflight",
        Kind::Bool,
        "true",
        "Whether a name is ordered only if DNS has it and a request for it is answered by this fleet. `false` says that all names lead here, whatever this machine can see.",
    ),
    key(
        "challenge-port",
        Kind::Number(0, 65_535),
        "0",
        "Port at which a name is tried before it is ordered; 0 is 80 for `http-01` and 443 for `tls-alpn-01`. Public authorities ask nowhere else.",
    ),
    key("names", Kind::Number(1, 100), "100", "Names of one certificate, at most."),
    key(
        "certificates",
        Kind::Number(1, 1_000_000),
        "50",
        "Certificates that the authority issues for one registered domain in 7 days.",
    ),
    key("orders", Kind::Number(1, 1_000_000), "300", "Orders that it takes of one account in 3 hours."),
    key(
        "duplicates",
        Kind::Number(1, 1_000_000),
        "5",
        "Certificates that it issues for the very same names in 7 days.",
    ),
    key("failures", Kind::Number(1, 1_000_000), "5", "Failed validations of one name that it takes in an hour."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Gateway;

    fn parse(text: &str) -> (Gateway, Vec<String>) {
        let (gateway, faults) = Gateway::parse("gateway.toml", text.to_owned(), Path::new(""));
        (gateway, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_is_ordered_unless_somebody_says_where() {
        let acme = parse("").0.acme;
        assert_eq!((acme.directory, acme.challenge, acme.preflight), (None, Challenge::Http01, true));
        assert_eq!(acme.limits, AcmeLimits { names: 100, certificates: 50, orders: 300, duplicates: 5, failures: 5 });
    }

    #[test]
    fn config_prints_what_was_read() {
        let text = r#"[acme]
directory = "https://ca.example/directory"
root = "ca.pem"
contact = ["mailto:a@b.example"]
agree-terms = true
eab-id = "kid"
eab-key-file = "eab.key"
profile = "short"
challenge = "dns-01"
dns-hook = ["/usr/bin/hook", "--zone"]
dns-wait = 5
addresses = ["192.0.2.1", "2001:db8::/64"]
dns = ["192.0.2.53:53"]
preflight = false
challenge-port = 5002
names = 10
certificates = 4
orders = 30
duplicates = 2
failures = 1
"#;
        let (gateway, faults) = parse(text);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(gateway.acme.binding, Some(("kid".to_owned(), "eab.key".into())));
        assert_eq!(gateway.acme.addresses.len(), 2);
        assert_eq!(parse(&gateway.to_toml()).0.acme, gateway.acme);
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (lines, want) in [
            ("directory = \"http://ca.example/\"\nagree-terms = true", "https://"),
            ("directory = \"ca\"\nagree-terms = true", "https://"),
            ("directory = \"https://ca.example/\"", "agree-terms"),
            ("challenge = \"dns-01\"", "dns-hook"),
            ("eab-id = \"x\"", "eab-key-file"),
            ("eab-key-file = \"x\"", "eab-id"),
            ("contact = [\"a@b.example\"]", "mailto:"),
            ("addresses = [\"here\"]", "address"),
            ("dns = [\"ns.example\"]", "address"),
            ("names = 101", "100"),
        ] {
            let (_, faults) = parse(&format!("[acme]\n{lines}\n"));
            assert!(faults.len() == 1 && faults[0].contains(want), "{lines}: {faults:?}");
        }
    }
}
