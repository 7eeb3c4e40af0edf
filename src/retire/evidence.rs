//! Evidence: what was found, signed, so that nobody can say later that it was something else.
//!
//! The file is JSON. `digests` has the SHA-256 of each part of `evidence` (its members, and their members), each in canonical form: keys
//! sorted, no white space. The signature (Ed25519) is made over the canonical form of `digests`, so a change is not only found but
//! named. The key is a file of PKCS#8 in PEM, as `openssl` reads it.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

/// Why evidence can't be signed or checked.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The file of the key can't be read or written.
    #[error("{}: {reason}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
    /// Others than its owner may read the key.
    #[error("{} may be read by others (mode {mode:o}): `chmod 600` it, and think about who has it", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The file has no such key.
    #[error("{} has no Ed25519 key in PEM", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The file is no evidence.
    #[error("this is no evidence file: {0}")]
    NoEvidence(&'static str),
}

/// A key that signs.
#[derive(Debug)]
pub struct Signer(Ed25519KeyPair);

impl Signer {
    /// The key in a file, which is made if it is not there.
    ///
    /// # Errors
    /// If it can't be used.
    pub fn open(path: &Path) -> Result<Self, EvidenceError> {
        let unusable = |reason| EvidenceError::Unusable { path: path.to_owned(), reason };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::make(path).map_err(unusable),
            Err(error) => return Err(unusable(error)),
        };
        let mode = file.metadata().map_err(unusable)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(EvidenceError::Open { path: path.to_owned(), mode });
        }
        let text = fs::read_to_string(path).map_err(unusable)?;
        let pair = der(&text, PRIVATE).and_then(|der| Ed25519KeyPair::from_pkcs8(&der).ok());
        pair.map(Signer).ok_or_else(|| EvidenceError::NoKey { path: path.to_owned() })
    }

    fn make(path: &Path) -> io::Result<Self> {
        let other = |_| io::Error::other("the system has no random numbers");
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(other)?;
        let pair =
            Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(|error| io::Error::other(error.to_string()))?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(pem(document.as_ref(), PRIVATE).as_bytes())?;
        file.sync_all()?;
        Ok(Signer(pair))
    }

    /// The public key, in base64.
    pub fn public_key(&self) -> String {
        BASE64_STANDARD.encode(self.0.public_key())
    }

    /// An evidence file.
    pub fn sign(&self, evidence: &Value) -> String {
        let digests = digests(evidence);
        let signature = self.0.sign(canonical(&digests).as_bytes());
        let file = json!({
            "waypost-evidence": 1,
            "evidence": evidence,
            "digests": digests,
            "signature": {
                "algorithm": "Ed25519",
                "public-key": self.public_key(),
                "value": BASE64_STANDARD.encode(signature.as_ref()),
            },
        });
        format!("{file:#}\n")
    }
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// The key that the file says it was signed with, in base64.
    pub public_key: String,
    /// Whether the digests were signed with that key.
    pub is_signed: bool,
    /// Parts that were changed, added or taken away since.
    pub changed: Vec<String>,
}

impl Checked {
    /// Whether it is as it was signed.
    pub fn is_whole(&self) -> bool {
        self.is_signed && self.changed.is_empty()
    }
}

/// Checks an evidence file. Whose key it is, is for the caller to know.
///
/// # Errors
/// If it is none.
pub fn check(text: &str) -> Result<Checked, EvidenceError> {
    if text.len() > MOST_BYTES {
        return Err(EvidenceError::NoEvidence("it is too large"));
    }
    let file: Value = serde_json::from_str(text).map_err(|_| EvidenceError::NoEvidence("it is not JSON"))?;
    if file["waypost-evidence"] != 1 {
        return Err(EvidenceError::NoEvidence("it does not say `waypost-evidence`: 1"));
    }
    let of = |name: &str| file["signature"][name].as_str();
    let (Some(public_key), Some(value), Some("Ed25519")) = (of("public-key"), of("value"), of("algorithm")) else {
        return Err(EvidenceError::NoEvidence("it has no Ed25519 signature"));
    };
    let Some(signed) = file["digests"].as_object() else { return Err(EvidenceError::NoEvidence("it has no digests")) };
    let key = BASE64_STANDARD.decode(public_key).unwrap_or_default();
    let signature = BASE64_STANDARD.decode(value).unwrap_or_default();
    let message = canonical(&file["digests"]);
    let is_signed = UnparsedPublicKey::new(&ED25519, &key).verify(message.as_bytes(), &signature).is_ok();
    let now = digests(&file["evidence"]);
    let now = now.as_object().cloned().unwrap_or_default();
    let mut changed: Vec<String> = Vec::new();
    for (part, digest) in signed {
        match now.get(part) {
            None => changed.push(format!("{part} was taken away")),
            Some(found) if found != digest => changed.push(format!("{part} was changed")),
            Some(_) => {}
        }
    }
    changed.extend(now.keys().filter(|part| !signed.contains_key(*part)).map(|part| format!("{part} was added")));
    changed.sort();
    Ok(Checked { public_key: public_key.to_owned(), is_signed, changed })
}

/// A public key as somebody gives it: base64, or a file of PEM (a public or a private key), in base64.
///
/// # Errors
/// If the file can't be read, or has none.
pub fn public_key(given: &str) -> Result<String, EvidenceError> {
    if BASE64_STANDARD.decode(given).is_ok_and(|key| key.len() == KEY) {
        return Ok(given.to_owned());
    }
    let path = Path::new(given);
    let text = fs::read_to_string(path).map_err(|reason| EvidenceError::Unusable { path: path.to_owned(), reason })?;
    // The last bytes of a SubjectPublicKeyInfo are the key.
    let public = der(&text, PUBLIC).filter(|der| der.len() == KEY + 12).map(|der| der[12..].to_vec());
    let own = || Some(Ed25519KeyPair::from_pkcs8(&der(&text, PRIVATE)?).ok()?.public_key().as_ref().to_vec());
    let key = public.or_else(own).ok_or_else(|| EvidenceError::NoKey { path: path.to_owned() })?;
    Ok(BASE64_STANDARD.encode(key))
}

/// The digests of the members of a value, and of theirs.
fn digests(evidence: &Value) -> Value {
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    let hex = |value: &Value| -> Value {
        let digest = digest(&SHA256, canonical(value).as_bytes());
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
    };
    for (name, value) in evidence.as_object().into_iter().flatten() {
        match value.as_object().filter(|members| !members.is_empty()) {
            Some(members) => all.extend(members.iter().map(|(member, value)| (format!("{name}.{member}"), hex(value)))),
            None => drop(all.insert(name.clone(), hex(value))),
        }
    }
    Value::Object(all.into_iter().collect())
}

/// JSON with sorted keys and without white space, whatever order it came in.
fn canonical(value: &Value) -> String {
    match value {
        Value::Array(list) => format!("[{}]", list.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let sorted: BTreeMap<&String, &Value> = members.iter().collect();
            let members =
                sorted.into_iter().map(|(key, value)| format!("{}:{}", Value::String(key.clone()), canonical(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

fn pem(der: &[u8], label: &str) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn der(text: &str, label: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {label}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {label}-----"))?;
    let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
    BASE64_STANDARD.decode(body).ok()
}

const PRIVATE: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";
/// Bytes of a public key.
const KEY: usize = 32;
const MOST_BYTES: usize = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/evidence.key");
        let signer = Signer::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(Signer::open(&path).unwrap().public_key(), signer.public_key());
        assert_eq!(public_key(path.to_str().unwrap()).unwrap(), signer.public_key());
        let evidence = json!({ "site": { "id": "jyj", "name": "青山" }, "hits": { "hits": 12, "bots": 2 }, "names": [1, 2], "none": {} });
        let text = signer.sign(&evidence);
        let checked = check(&text).unwrap();
        assert!(checked.is_whole(), "{checked:?}");
        assert_eq!(checked.public_key, signer.public_key());
        // Another layout and order of keys is no change.
        let value: Value = serde_json::from_str(&text).unwrap();
        assert!(check(&value.to_string()).unwrap().is_whole());
        let with = |change: &dyn Fn(&mut Value)| {
            let mut value = value.clone();
            change(&mut value);
            check(&value.to_string()).unwrap()
        };
        type Case<'a> = (&'a dyn Fn(&mut Value), &'a [&'a str], bool);
        let cases: [Case<'_>; 5] = [
            (&|file| file["evidence"]["hits"]["hits"] = 1.into(), &["hits.hits was changed"], true),
            (&|file| file["evidence"]["new"] = 1.into(), &["new was added"], true),
            (&|file| drop(file["evidence"].as_object_mut().unwrap().remove("names")), &["names was taken away"], true),
            (&|file| file["digests"]["names"] = "0".into(), &["names was changed"], false),
            (&|file| file["signature"]["value"] = "AAAA".into(), &[], false),
        ];
        for (change, changed, is_signed) in cases {
            let checked = with(change);
            assert_eq!(
                (checked.changed.as_slice(), checked.is_signed),
                (changed.iter().map(ToString::to_string).collect::<Vec<_>>().as_slice(), is_signed)
            );
            assert!(!checked.is_whole());
        }
        for text in [
            "",
            "{}",
            "[]",
            "{\"waypost-evidence\":1}",
            "{\"waypost-evidence\":1,\"signature\":{\"public-key\":\"\",\"value\":\"\",\"algorithm\":\"Ed25519\"}}",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evidence.key");
        Signer::open(&path).unwrap();
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o644);
        fs::set_permissions(&path, permissions).unwrap();
        assert!(matches!(Signer::open(&path), Err(EvidenceError::Open { .. })));
        fs::write(folder.path().join("none"), "x").unwrap();
        assert!(public_key(folder.path().join("none").to_str().unwrap()).is_err());
    }
}
