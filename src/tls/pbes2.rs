//! Keys locked by a passphrase: PKCS#8 under PBES2 (RFC 8018), as `openssl pkcs8 -topk8` writes them.

use std::num::NonZeroU32;

use aws_lc_rs::{
    cipher::{
        AES_128, AES_192, AES_256, AES_CBC_IV_LEN, Algorithm, DecryptionContext, PaddedBlockDecryptingKey,
        PaddedBlockEncryptingKey, UnboundCipherKey,
    },
    error::Unspecified,
    iv::FixedLength,
    pbkdf2::{self, PBKDF2_HMAC_SHA1, PBKDF2_HMAC_SHA256, PBKDF2_HMAC_SHA384, PBKDF2_HMAC_SHA512},
    rand,
};

use super::der::{Reader, tag, value};

/// Why a key can't be unlocked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Locked {
    /// The passphrase is another one.
    Wrong,
    /// By a way that is not known here.
    Unknown,
    /// It would take too long.
    Costly,
    /// It is no such key.
    Malformed,
}

/// Rounds of PBKDF2 that may be done for one file: a second or so. OpenSSL does 2,048 for a key unless it is told
/// otherwise.
pub(super) const MAX_ROUNDS: u32 = 2_000_000;

/// Rounds for a key that is written. The passphrase is for machines, so it can be as long as it takes not to be guessed;
/// and a node has to open forty of them before it serves anybody.
const ROUNDS: u32 = 20_000;

const PBES2: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x05, 0x0D];
const PBKDF2: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x05, 0x0C];
const HMAC_SHA1: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x02, 0x07];
const HMAC_SHA256: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x02, 0x09];
const HMAC_SHA384: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x02, 0x0A];
const HMAC_SHA512: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x02, 0x0B];
const AES_128_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x02];
const AES_192_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x16];
const AES_256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2A];

/// How a key is locked, and the key.
struct Envelope<'a> {
    salt: &'a [u8],
    rounds: NonZeroU32,
    hash: pbkdf2::Algorithm,
    cipher: &'static Algorithm,
    key_length: usize,
    iv: [u8; AES_CBC_IV_LEN],
    data: &'a [u8],
}

/// The PKCS#8 key in an EncryptedPrivateKeyInfo (DER). `rounds` are those that may still be done, and become fewer.
pub(super) fn unlock(der: &[u8], passphrase: &[u8], rounds: &mut u32) -> Result<Vec<u8>, Locked> {
    let envelope = Envelope::read(der)?;
    *rounds = rounds.checked_sub(envelope.rounds.get()).ok_or(Locked::Costly)?;
    let mut key = [0; 32];
    let key = &mut key[..envelope.key_length];
    pbkdf2::derive(envelope.hash, envelope.rounds, envelope.salt, passphrase, key);
    let mut data = envelope.data.to_vec();
    let context = DecryptionContext::Iv128(FixedLength::from(envelope.iv));
    let opened = UnboundCipherKey::new(envelope.cipher, key)
        .and_then(PaddedBlockDecryptingKey::cbc_pkcs7)
        .and_then(|key| key.decrypt(&mut data, context).map(|plain| plain.to_vec()))
        .map_err(|_| Locked::Wrong)?;
    // One wrong passphrase in 256 ends in what looks like padding, and none in a key.
    let mut reader = Reader::new(&opened);
    let is_key = reader.enter(tag::SEQUENCE).is_some_and(|mut inner| inner.number().is_some_and(|version| version < 2));
    if is_key && reader.is_done() { Ok(opened) } else { Err(Locked::Wrong) }
}

/// A PKCS#8 key (DER) as an EncryptedPrivateKeyInfo: AES-256-CBC, and a key by PBKDF2 with HMAC-SHA-256.
pub(super) fn lock(pkcs8: &[u8], passphrase: &[u8]) -> Result<Vec<u8>, Unspecified> {
    let (mut salt, mut key) = ([0; 16], [0; 32]);
    rand::fill(&mut salt)?;
    let rounds = NonZeroU32::new(ROUNDS).ok_or(Unspecified)?;
    pbkdf2::derive(PBKDF2_HMAC_SHA256, rounds, &salt, passphrase, &mut key);
    let mut data = pkcs8.to_vec();
    let cipher = PaddedBlockEncryptingKey::cbc_pkcs7(UnboundCipherKey::new(&AES_256, &key)?)?;
    let context = cipher.encrypt(&mut data)?;
    let iv: &[u8] = (&context).try_into()?;
    let oid = |oid: &[u8]| value(tag::OID, &[oid]);
    let sequence = |parts: &[&[u8]]| value(tag::SEQUENCE, parts);
    // Two bytes hold it, and the first is below 0x80.
    let count = value(tag::INTEGER, &[&ROUNDS.to_be_bytes()[2..]]);
    let hash = sequence(&[&oid(HMAC_SHA256), &value(tag::NULL, &[])]);
    let derivation = sequence(&[&oid(PBKDF2), &sequence(&[&value(tag::OCTET_STRING, &[&salt]), &count, &hash])]);
    let encryption = sequence(&[&oid(AES_256_CBC), &value(tag::OCTET_STRING, &[iv])]);
    let algorithm = sequence(&[&oid(PBES2), &sequence(&[&derivation, &encryption])]);
    Ok(sequence(&[&algorithm, &value(tag::OCTET_STRING, &[&data])]))
}

impl<'a> Envelope<'a> {
    fn read(der: &'a [u8]) -> Result<Self, Locked> {
        let bad = Locked::Malformed;
        let mut outer = Reader::new(der).enter(tag::SEQUENCE).ok_or(bad)?;
        let mut algorithm = outer.enter(tag::SEQUENCE).ok_or(bad)?;
        let data = outer.take(tag::OCTET_STRING).ok_or(bad)?;
        if algorithm.take(tag::OID).ok_or(bad)? != PBES2 {
            return Err(Locked::Unknown);
        }
        let mut ways = algorithm.enter(tag::SEQUENCE).ok_or(bad)?;
        let mut derivation = ways.enter(tag::SEQUENCE).ok_or(bad)?;
        let mut encryption = ways.enter(tag::SEQUENCE).ok_or(bad)?;
        if derivation.take(tag::OID).ok_or(bad)? != PBKDF2 {
            return Err(Locked::Unknown);
        }
        let (cipher, key_length) = match encryption.take(tag::OID).ok_or(bad)? {
            AES_128_CBC => (&AES_128, 16),
            AES_192_CBC => (&AES_192, 24),
            AES_256_CBC => (&AES_256, 32),
            _ => return Err(Locked::Unknown),
        };
        let iv = encryption.take(tag::OCTET_STRING).and_then(|iv| iv.try_into().ok()).ok_or(bad)?;
        let mut derivation = derivation.enter(tag::SEQUENCE).ok_or(bad)?;
        let salt = derivation.take(tag::OCTET_STRING).ok_or(bad)?;
        let rounds = derivation.number().and_then(NonZeroU32::new).ok_or(Locked::Costly)?;
        // The length of the key, which the cipher says.
        if derivation.number().is_some_and(|length| length as usize != key_length) {
            return Err(bad);
        }
        let hash = match derivation.enter(tag::SEQUENCE).map(|mut hash| hash.take(tag::OID)) {
            // What is meant where nothing is said.
            None => PBKDF2_HMAC_SHA1,
            Some(Some(HMAC_SHA1)) => PBKDF2_HMAC_SHA1,
            Some(Some(HMAC_SHA256)) => PBKDF2_HMAC_SHA256,
            Some(Some(HMAC_SHA384)) => PBKDF2_HMAC_SHA384,
            Some(Some(HMAC_SHA512)) => PBKDF2_HMAC_SHA512,
            Some(_) => return Err(Locked::Unknown),
        };
        Ok(Envelope { salt, rounds, hash, cipher, key_length, iv, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rcgen::KeyPair;

    #[test]
    fn a_key_opens_with_its_passphrase_only() {
        let key = KeyPair::generate().unwrap().serialize_der();
        let locked = lock(&key, b"secret").unwrap();
        let mut rounds = ROUNDS * 2;
        assert_eq!(unlock(&locked, b"secret", &mut rounds).as_ref(), Ok(&key));
        assert_eq!(unlock(&locked, b"Secret", &mut rounds), Err(Locked::Wrong));
        assert_eq!((unlock(&locked, b"secret", &mut rounds), rounds), (Err(Locked::Costly), 0));
        assert_ne!(lock(&key, b"secret").unwrap(), locked, "salted");
        for length in 0..locked.len() {
            assert_eq!(unlock(&locked[..length], b"secret", &mut rounds), Err(Locked::Malformed), "{length}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn no_bytes_make_it_panic_or_last(flips in prop::collection::vec((0usize..400, any::<u8>()), 1..6)) {
            static LOCKED: std::sync::LazyLock<Vec<u8>> =
                std::sync::LazyLock::new(|| lock(&KeyPair::generate().unwrap().serialize_der(), b"secret").unwrap());
            let mut bytes = LOCKED.clone();
            for (place, byte) in flips {
                let place = place % bytes.len();
                bytes[place] = byte;
            }
            let _ = unlock(&bytes, b"secret", &mut (ROUNDS + 1));
        }
    }
}
