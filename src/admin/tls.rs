//! TLS at the admin address, and who is known by a certificate.

use std::sync::Arc;

use pingora::listeners::tls::Acceptor;
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use x509_parser::{
    objects::{oid_registry, oid2abbrev},
    prelude::{FromDer, X509Certificate},
    x509::{AttributeTypeAndValue, X509Name},
};

use super::audit::hex;
use crate::config::{AdminSettings, Identity};

/// How TLS is spoken; none if there is no certificate for it. Where tokens will do, a client needs no certificate.
///
/// # Errors
/// If the certificates can't be used.
pub(super) fn acceptor(settings: &AdminSettings) -> Result<Option<Acceptor>, rustls::Error> {
    let Some(Identity { chain, key, .. }) = &settings.identity else { return Ok(None) };
    let provider = Arc::new(crate::tls::provider());
    let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = match &settings.client_ca {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in &authorities.certificates {
                roots.add(CertificateDer::from(authority.as_slice()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            let verifier = if settings.tokens.is_some() { verifier.allow_unauthenticated() } else { verifier };
            let verifier = verifier.build().map_err(|error| rustls::Error::General(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let chain = chain.certificates.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = PrivateKeyDer::try_from(key.clone()).map_err(|error| rustls::Error::General(error.to_owned()))?;
    let mut config = builder.with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Each connection shows its certificate: one that has expired is not good any more.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Some(Acceptor::from_server_config(Arc::new(config))))
}

/// The subject of a certificate (RFC 4514), which is who has it.
pub(super) fn subject(certificate: &[u8]) -> Option<Arc<str>> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    Some(name(certificate.subject()).into())
}

/// A name as one line that stands for no other name: the last part first, special characters escaped.
fn name(name: &X509Name<'_>) -> String {
    let parts: Vec<&_> = name.iter_rdn().collect();
    let part = |attributes: Vec<String>| attributes.join("+");
    let parts = parts.into_iter().rev().map(|rdn| part(rdn.iter().map(attribute).collect()));
    parts.collect::<Vec<_>>().join(",")
}

fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type();
    let mut out = oid2abbrev(oid, oid_registry()).map_or_else(|_| oid.to_id_string(), str::to_owned);
    out.push('=');
    let Ok(text) = attribute.as_str() else {
        out.push('#');
        out += &hex(attribute.as_slice());
        return out;
    };
    let last = text.chars().count().saturating_sub(1);
    for (at, c) in text.chars().enumerate() {
        match c {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => out.extend(['\\', c]),
            '#' if at == 0 => out.push_str("\\#"),
            ' ' if at == 0 || at == last => out.push_str("\\ "),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                c.encode_utf8(&mut bytes).bytes().for_each(|byte| out += &format!("\\{byte:02X}"));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, DnType, KeyPair};

    fn of(parts: &[(DnType, &str)]) -> String {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        parts.iter().for_each(|(kind, value)| params.distinguished_name.push(kind.clone(), *value));
        let key = KeyPair::generate().unwrap();
        subject(params.self_signed(&key).unwrap().der()).unwrap().to_string()
    }

    #[test]
    fn a_subject_stands_for_one_name() {
        let (cn, o) = (DnType::CommonName, DnType::OrganizationName);
        assert_eq!(of(&[(o.clone(), "青山县"), (cn.clone(), "ops")]), "CN=ops,O=青山县");
        assert_eq!(of(&[(cn.clone(), "ops,O=青山县")]), "CN=ops\\,O=青山县");
        assert_eq!(of(&[(cn.clone(), " a\n\"b\\ ")]), "CN=\\ a\\0A\\\"b\\\\\\ ");
        assert_eq!(of(&[(cn, "#a")]), "CN=\\#a");
        assert_eq!(subject(b"no certificate"), None);
    }
}
