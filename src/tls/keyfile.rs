//! Writing what nobody else may read.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der},
    rand, rsa,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, ECDSA_P521_SHA512_ASN1_SIGNING, EcdsaKeyPair,
    },
};
use rustls::pki_types::PrivateKeyDer;

use super::{passphrase::Passphrase, pbes2, pem};

/// Writes a key and its chain (PEM, the leaf first) into one file, as [`write_secret`] does; with a passphrase the key is
/// locked.
///
/// # Errors
/// If the key is of no kind that TLS has, or the file can't be written; then what was there is still there.
pub fn write_certificate(
    path: &Path,
    chain: &str,
    key: &PrivateKeyDer<'_>,
    passphrase: Option<&Passphrase>,
) -> io::Result<()> {
    let refused = || io::Error::new(io::ErrorKind::InvalidInput, "this key is of no kind that can be used for TLS");
    let key = seal(&pkcs8(key).ok_or_else(refused)?, passphrase)?;
    let end = if chain.ends_with('\n') { "" } else { "\n" };
    write_secret(path, format!("{chain}{end}{key}").as_bytes())
}

/// A key (PKCS#8) as PEM, locked if there is a passphrase.
///
/// # Errors
/// If the system has no random numbers.
pub fn seal(pkcs8: &[u8], passphrase: Option<&Passphrase>) -> io::Result<String> {
    let Some(passphrase) = passphrase else { return Ok(pem::encode(PLAIN, pkcs8)) };
    let locked = pbes2::lock(pkcs8, passphrase.as_bytes());
    Ok(pem::encode(LOCKED, &locked.map_err(|_| io::Error::other("the key can't be locked"))?))
}

/// The key (PKCS#8) that [`seal`] made PEM of, now or when there was no passphrase yet.
///
/// # Errors
/// If it is no such key, or locked with another passphrase.
pub fn unseal(text: &str, passphrase: Option<&Passphrase>) -> io::Result<Vec<u8>> {
    let wrong = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let blocks = pem::blocks(text.as_bytes());
    let of = |label: &str| blocks.iter().find(|block| block.label == label).and_then(pem::decode);
    if let Some(key) = of(PLAIN) {
        return Ok(key);
    }
    let locked = of(LOCKED).ok_or_else(|| wrong("it holds no key"))?;
    let no_passphrase = "its key is locked: name the passphrase ([tls] passphrase-file, or WAYPOST_PASSPHRASE)";
    let passphrase = passphrase.ok_or_else(|| wrong(no_passphrase))?;
    let mut rounds = pbes2::MAX_ROUNDS;
    pbes2::unlock(&locked, passphrase.as_bytes(), &mut rounds)
        .map_err(|_| wrong("its key is locked with another passphrase"))
}

/// The label of a key that is not locked.
const PLAIN: &str = "PRIVATE KEY";

/// The label of a key that is locked.
pub(super) const LOCKED: &str = "ENCRYPTED PRIVATE KEY";

/// A key of whatever encoding as PKCS#8.
fn pkcs8(key: &PrivateKeyDer<'_>) -> Option<Vec<u8>> {
    match key {
        PrivateKeyDer::Pkcs8(key) => Some(key.secret_pkcs8_der().to_vec()),
        PrivateKeyDer::Sec1(key) => {
            let curves =
                [&ECDSA_P256_SHA256_ASN1_SIGNING, &ECDSA_P384_SHA384_ASN1_SIGNING, &ECDSA_P521_SHA512_ASN1_SIGNING];
            let of_curve = |curve| EcdsaKeyPair::from_private_key_der(curve, key.secret_sec1_der()).ok();
            let pair = curves.into_iter().find_map(of_curve)?;
            Some(pair.to_pkcs8v1().ok()?.as_ref().to_vec())
        }
        PrivateKeyDer::Pkcs1(key) => {
            let pair = rsa::KeyPair::from_der(key.secret_pkcs1_der()).ok()?;
            let der: Pkcs8V1Der<'_> = pair.as_der().ok()?;
            Some(der.as_ref().to_vec())
        }
        _ => None,
    }
}

/// Puts a file that only its owner may read in the place of whatever is at `path`, as a whole: who reads it sees the old
/// one or the new one, also after a crash. It is on disk when this returns.
///
/// # Errors
/// If it can't be written; then what was there is still there.
pub fn write_secret(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let beside = beside(folder, name)?;
    let written = File::options().write(true).create_new(true).mode(0o600).open(&beside).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if written.is_err() {
        // As far as it came to be. If it can't be removed either, its hidden name keeps it from being read.
        let _ = fs::remove_file(&beside);
    }
    written?;
    // The name is on disk only with the folder.
    File::open(folder)?.sync_all()
}

/// Makes a folder that only its owner may look into, and those above it that are missing.
///
/// # Errors
/// If it can't be made.
pub fn make_secret_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A hidden name in the same folder that nobody else uses: another machine may write the same file.
fn beside(folder: &Path, name: &OsStr) -> io::Result<PathBuf> {
    let mut random = [0; 8];
    rand::fill(&mut random).map_err(|_| io::Error::other("the system has no random numbers"))?;
    let mut hidden = OsStr::new(".").to_owned();
    hidden.push(if name.len() <= MAX_NAME { name } else { OsStr::new("long") });
    hidden.push(format!(".{:016x}", u64::from_ne_bytes(random)));
    Ok(folder.join(hidden))
}

/// Longest name, in bytes, that has room for what is put around it (a system takes 255).
const MAX_NAME: usize = 230;

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{crypto::aws_lc_rs::sign::any_supported_type, pki_types::pem::PemObject};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn what_is_sealed_opens_with_its_passphrase_only() {
        let key = rcgen::KeyPair::generate().unwrap().serialize_der();
        let (right, wrong) = (Passphrase::from_text("right"), Passphrase::from_text("wrong"));
        let plain = seal(&key, None).unwrap();
        let locked = seal(&key, Some(&right)).unwrap();
        assert!(plain.contains("BEGIN PRIVATE KEY") && locked.contains("BEGIN ENCRYPTED PRIVATE KEY"));
        // One from before there was a passphrase still opens.
        for (text, passphrase) in [(&plain, None), (&plain, Some(&right)), (&locked, Some(&right))] {
            assert_eq!(unseal(text, passphrase).unwrap(), key);
        }
        for (text, passphrase, why) in
            [(&locked, None, "passphrase-file"), (&locked, Some(&wrong), "another"), (&String::new(), None, "no key")]
        {
            assert!(unseal(text, passphrase).unwrap_err().to_string().contains(why), "{why}");
        }
    }

    #[test]
    fn keys_of_every_encoding_become_pkcs8() {
        let folder = tempfile::tempdir().unwrap();
        let openssl = |args: &[&str]| {
            let output = std::process::Command::new("openssl").args(args).current_dir(folder.path()).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        openssl(&["ecparam", "-name", "secp384r1", "-genkey", "-noout", "-out", "sec1"]);
        openssl(&["genrsa", "-traditional", "-out", "pkcs1", "2048"]);
        openssl(&["genpkey", "-algorithm", "ed25519", "-out", "pkcs8"]);
        let passphrase = Passphrase::from_text("correct horse");
        for name in ["sec1", "pkcs1", "pkcs8"] {
            let key = PrivateKeyDer::from_pem_file(folder.path().join(name)).unwrap();
            let public = any_supported_type(&key).unwrap().public_key().unwrap().to_vec();
            for (file, passphrase) in [("clear.pem", None), ("locked.pem", Some(&passphrase))] {
                write_certificate(&folder.path().join(file), "chain", &key, passphrase).unwrap();
                // OpenSSL reads what we write.
                openssl(&[
                    "pkey",
                    "-in",
                    file,
                    "-passin",
                    "pass:correct horse",
                    "-pubout",
                    "-outform",
                    "der",
                    "-out",
                    "public",
                ]);
                assert_eq!(fs::read(folder.path().join("public")).unwrap(), public, "{name} {file}");
            }
            let text = fs::read_to_string(folder.path().join("locked.pem")).unwrap();
            assert!(text.starts_with("chain\n-----BEGIN ENCRYPTED PRIVATE KEY-----\n"), "{text}");
        }
    }

    #[test]
    fn a_secret_takes_the_place_of_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("acme/.state");
        make_secret_folder(&state).unwrap();
        make_secret_folder(&state).unwrap();
        assert_eq!(fs::metadata(&state).unwrap().mode() & 0o7777, 0o700);
        for name in ["a", &"n".repeat(255)] {
            let path = state.join(name);
            fs::write(&path, "open to all").unwrap();
            write_secret(&path, b"secret").unwrap();
            assert_eq!(fs::read(&path).unwrap(), b"secret");
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        }
        // A folder is in the way.
        assert!(write_secret(&state, b"secret").is_err());
        let left: Vec<_> = fs::read_dir(state.parent().unwrap()).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        assert_eq!(fs::read_dir(&state).unwrap().count(), 2);
    }
}
