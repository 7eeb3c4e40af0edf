//! Which OCSP response is stapled to which certificate.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::{
    cert::Cert,
    file::finding,
    ocsp::{Response, Staple},
};
use crate::config::Diagnostic;

/// The OCSP responses of a folder, and what came of them.
pub(super) struct Staples<'a> {
    by_serial: HashMap<&'a [u8], Vec<(&'a Arc<str>, &'a Response)>>,
    /// By file: whether it is about a certificate of the folder, and what is wrong with it.
    seen: RefCell<BTreeMap<&'a Arc<str>, Option<Diagnostic>>>,
    files: Vec<&'a Arc<str>>,
}

impl<'a> Staples<'a> {
    /// Those of files, by their names.
    pub fn new(responses: impl Iterator<Item = (&'a Arc<str>, &'a Response)>) -> Self {
        let mut staples = Staples { by_serial: HashMap::new(), seen: RefCell::default(), files: Vec::new() };
        for (name, response) in responses {
            staples.files.push(name);
            for serial in response.serials() {
                staples.by_serial.entry(serial).or_default().push((name, response));
            }
        }
        staples
    }

    /// What is stapled to a certificate: of several responses the one that is good for longest.
    pub fn of(&self, leaf: &Cert, issuer: &Cert) -> Option<Staple> {
        let about = self.by_serial.get(leaf.serial())?;
        let mut best: Option<Staple> = None;
        for (file, response) in about {
            let Some(found) = response.staple(file, leaf, issuer) else { continue };
            let fault = match found {
                Ok(staple) if best.as_ref().is_none_or(|best| best.until < staple.until) => {
                    best = Some(staple);
                    None
                }
                Ok(_) => None,
                Err(fault) => Some(fault),
            };
            self.seen.borrow_mut().insert(file, fault);
        }
        best
    }

    /// What is wrong with the responses, once all certificates have been asked for.
    pub fn into_findings(self) -> Vec<Diagnostic> {
        let mut seen = self.seen.into_inner();
        let of_file = |name: &'a Arc<str>| match seen.remove(name) {
            Some(fault) => fault,
            None => {
                let message = "this OCSP response is about no certificate of the folder whose issuer is here too";
                Some(finding("bad-ocsp", name, 1, message).hint("put the chain beside it, or remove it").warning())
            }
        };
        self.files.into_iter().filter_map(of_file).collect()
    }
}
