//! Certificates put in order: the leaf, then who signed it, and so on.

use std::{collections::HashMap, sync::Arc};

use webpki_roots::TLS_SERVER_ROOTS;

use super::cert::Cert;

/// Longest chain. Public ones have three.
const MAX_CHAIN: usize = 8;

/// Every certificate of a folder that may have signed another, by subject; each once.
#[derive(Debug, Default)]
pub(super) struct Issuers<'a>(HashMap<&'a [u8], Vec<&'a Arc<Cert>>>);

impl<'a> Issuers<'a> {
    pub fn new(certs: impl Iterator<Item = &'a Arc<Cert>>) -> Self {
        let mut by_subject: HashMap<_, Vec<&'a Arc<Cert>>> = HashMap::new();
        for cert in certs.filter(|cert| cert.is_ca) {
            let same = by_subject.entry(cert.subject()).or_default();
            // The same one stands behind every leaf that it signed.
            if !same.iter().any(|known| known.der == cert.der) {
                same.push(cert);
            }
        }
        Issuers(by_subject)
    }

    /// Who signed a certificate, a root or not.
    pub fn of(&self, leaf: &Cert) -> Option<&'a Arc<Cert>> {
        self.0.get(leaf.issuer()).into_iter().flatten().copied().find(|issuer| leaf.is_issued_by(issuer))
    }

    /// What follows `leaf` in its chain, in the order that TLS wants, whatever the order of the files; and whether the
    /// chain is complete: it ends where a root follows, of the folder or of those that browsers know. `beside` are the
    /// certificates of the same file, which come first. Roots are left out: clients have them.
    pub fn chain(&self, leaf: &Arc<Cert>, beside: &[Arc<Cert>]) -> (Vec<Arc<Cert>>, bool) {
        let mut chain: Vec<Arc<Cert>> = Vec::new();
        loop {
            let last = chain.last().unwrap_or(leaf);
            if last.is_root() {
                return (chain, true);
            }
            let fits = |cert: &&Arc<Cert>| {
                last.is_issued_by(cert) && cert.der != leaf.der && !chain.iter().any(|c| c.der == cert.der)
            };
            let known = self.0.get(last.issuer()).into_iter().flatten().copied();
            // Of several, the one that lasts longest: intermediates are renewed under their old names.
            let best = |cert: &&Arc<Cert>| (beside.iter().any(|b| b.der == cert.der), cert.not_after);
            match known.filter(fits).max_by_key(best) {
                Some(issuer) if issuer.is_root() => return (chain, true),
                Some(issuer) if chain.len() < MAX_CHAIN => {
                    let issuer = issuer.clone();
                    chain.push(issuer);
                }
                _ => {
                    let complete = TLS_SERVER_ROOTS.iter().any(|root| last.is_vouched_for_by(root));
                    return (chain, complete);
                }
            }
        }
    }
}
