//! `waypost certs import`.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, bail};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use serde_json::json;

use super::super::output::{count, print};
use super::{NodeArgs, days, load, moment};
use crate::config::Severity;
use crate::tls::{self, Passphrase, make_secret_folder, write_certificate, write_secret};

/// Longest file that is taken for a chain or a key, in bytes.
const LONGEST: u64 = 1 << 20;

pub(super) fn run(
    node: &NodeArgs,
    chain: &Path,
    key: Option<&Path>,
    name: Option<&str>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let (mut gateway, _) = load::gateway(node)?;
    let mut text = read(chain)?;
    if let Some(key) = key {
        text.push('\n');
        text.push_str(&read(key)?);
    }
    let certs = gateway.certs.clone();
    make_secret_folder(&certs).with_context(|| format!("can't make {}", certs.display()))?;
    // What is about to be served is looked at as it will be, where nothing serves it.
    let trial = trial_in(&certs)?;
    gateway.certs = trial.0.clone();
    write_secret(&trial.0.join("import.pem"), text.as_bytes())?;
    let inventory = tls::inventory(&gateway)?;
    let findings = inventory.certificates.iter().flat_map(|info| &info.problems).chain(&inventory.findings);
    let faults: Vec<_> = findings.clone().filter(|finding| finding.severity == Severity::Error).collect();
    if let Some(fault) = faults.first() {
        let hint = fault.hint.as_ref().map(|hint| format!(" ({hint})")).unwrap_or_default();
        bail!("nothing was imported: line {} of both files together: {}{hint}", fault.line, fault.message);
    }
    let [info] = &inventory.certificates[..] else {
        let what = match inventory.certificates.len() {
            0 => "no certificate with its key is in them: name the file of the key, too",
            _ => "several certificates with keys are in them: import them one by one",
        };
        bail!("nothing was imported: {what}");
    };
    let name = match name.or_else(|| info.names.first().map(String::as_str)) {
        Some(name) => name.trim_end_matches(".pem").replace("*.", "wildcard."),
        None => bail!("nothing was imported: the certificate names no host; say --name"),
    };
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
        bail!("`{name}` is no name of a file: letters, digits, `-` and `.` make one");
    }
    let file = certs.join(format!("{name}.pem"));
    let replaced = file.exists();
    let passphrase = Passphrase::of(&gateway.tls).context("the passphrase of keys")?;
    let written = match (&passphrase, PrivateKeyDer::from_pem_slice(text.as_bytes())) {
        // One that is locked already stays so: it was just seen to open.
        (Some(_), Ok(key)) => write_certificate(&file, &chain_of(&text), &key, passphrase.as_ref()),
        _ => write_secret(&file, text.as_bytes()),
    };
    written.with_context(|| format!("can't write {}", file.display()))?;
    let now = load::now();
    let warnings: Vec<String> = findings.map(|finding| finding.message.clone()).collect();
    if json {
        let report = json!({
            "file": file, "replaced": replaced, "names": info.names, "issuer": info.issuer, "not-after": info.not_after,
            "warnings": warnings,
        });
        return print(&format!("{}\n", serde_json::to_string_pretty(&report)?));
    }
    let verb = if replaced { "replaced" } else { "made" };
    let mut out = format!(
        "{} {verb}: {}, until {} ({})\n",
        file.display(),
        count(info.names.len(), "name"),
        moment(info.not_after),
        count(days(now, info.not_after).max(0) as usize, "day"),
    );
    warnings.iter().for_each(|warning| out.push_str(&format!("    warning: {warning}\n")));
    print(&out)
}

/// The blocks of certificates.
fn chain_of(text: &str) -> String {
    let mut chain = String::new();
    let mut is_within = false;
    for line in text.lines() {
        is_within |= line.starts_with("-----BEGIN CERTIFICATE-----");
        if is_within {
            chain.push_str(line);
            chain.push('\n');
        }
        is_within &= !line.starts_with("-----END CERTIFICATE-----");
    }
    chain
}

fn read(path: &Path) -> anyhow::Result<String> {
    let meta = std::fs::metadata(path).with_context(|| format!("can't read {}", path.display()))?;
    if meta.len() > LONGEST {
        bail!("{} is too long for a chain or a key", path.display());
    }
    let bytes = std::fs::read(path).with_context(|| format!("can't read {}", path.display()))?;
    String::from_utf8(bytes).map_err(|_| {
        anyhow::anyhow!(
            "{} is no PEM file: `openssl x509 -inform der` or `openssl pkcs12` makes one of it",
            path.display()
        )
    })
}

/// A hidden folder that is removed at the end.
struct Trial(std::path::PathBuf);

fn trial_in(folder: &Path) -> anyhow::Result<Trial> {
    let trial = Trial(folder.join(format!(".import-{}", std::process::id())));
    make_secret_folder(&trial.0).with_context(|| format!("can't write to {}", folder.display()))?;
    Ok(trial)
}

impl Drop for Trial {
    fn drop(&mut self) {
        // An error leaves a hidden folder with a copy that only its owner may read.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
