//! Certificates put in order: the leaf, then who signed it, and so on.

use std::{collections::HashMap, sync::Arc};

use super::file::Cert;

/// Longest chain. Public ones have three.
const MAX_CHAIN: usize = 8;

/// Every certificate of a folder that may have signed another, by subject.
#[derive(Debug, Default)]
pub(super) struct Issuers<'a>(HashMap<&'a [u8], Vec<&'a Arc<Cert>>>);

impl<'a> Issuers<'a> {
    pub fn new(certs: impl Iterator<Item = &'a Arc<Cert>>) -> Self {
        let mut by_subject: HashMap<_, Vec<_>> = HashMap::new();
        for cert in certs.filter(|cert| cert.is_ca) {
            by_subject.entry(cert.subject()).or_default().push(cert);
        }
        Issuers(by_subject)
    }

    /// What follows `leaf` in its chain, in the order that TLS wants, whatever the order of the files; and whether the
    /// chain ends at a root or at an intermediate certificate. `beside` are the certificates of the same file, which
    /// come first. Roots are left out: clients have them.
    pub fn chain(&self, leaf: &Arc<Cert>, beside: &[Arc<Cert>]) -> (Vec<Arc<Cert>>, bool) {
        let mut chain: Vec<Arc<Cert>> = Vec::new();
        loop {
            let last = chain.last().unwrap_or(leaf);
            if last.is_root() {
                return (chain, true);
            }
            let known = self.0.get(last.issuer()).into_iter().flatten().copied();
            let fits = |cert: &&Arc<Cert>| {
                cert.is_ca
                    && last.is_issued_by(cert)
                    && !Arc::ptr_eq(cert, leaf)
                    && !chain.iter().any(|c| c.der == cert.der)
            };
            // Of several, the one that lasts longest: intermediates are renewed under their old names.
            let issuer = beside.iter().filter(fits).max_by_key(|cert| cert.not_after);
            match issuer.or_else(|| known.filter(fits).max_by_key(|cert| cert.not_after)) {
                Some(issuer) if issuer.is_root() => return (chain, true),
                Some(issuer) if chain.len() < MAX_CHAIN => {
                    let issuer = issuer.clone();
                    chain.push(issuer);
                }
                _ => return (chain.clone(), !chain.is_empty() || leaf.is_ca),
            }
        }
    }
}
