//! Requests that `instant_acme` has no words for, signed here (RFC 7515, RFC 8555, section 6.2): the registration of a key
//! that is on disk already, with or without an external account, and the list of an account's orders.

use std::sync::Arc;

use aws_lc_rs::{
    digest::{SHA256, digest},
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD as BASE64, Engine};
use bytes::Bytes;
use http::{Request, Response, header};
use serde_json::{Value, json};

use super::account::{LOSSES, Retries};
use super::fault::{Fault, Refusal};
use super::transport::Transport;

/// An account's key: ECDSA P-256.
pub(super) struct AccountKey {
    pair: EcdsaKeyPair,
    pkcs8: Vec<u8>,
}

/// Who signs.
#[derive(Clone, Copy)]
pub(super) enum Signer<'a> {
    /// A key that the authority may not know yet.
    Key,
    /// The account, by its URL.
    Account(&'a str),
}

/// The account at the authority that a new one is bound to (RFC 8555, 7.3.4).
pub(super) struct Binding {
    pub id: String,
    pub key: Vec<u8>,
}

impl AccountKey {
    /// A new one.
    pub fn generate() -> Result<Self, Fault> {
        let no_luck = |_| Fault::Local("no key could be made".to_owned());
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(no_luck)?;
        let pkcs8 = pair.to_pkcs8v1().map_err(no_luck)?.as_ref().to_vec();
        Ok(AccountKey { pair, pkcs8 })
    }

    /// One that was made before.
    pub fn from_pkcs8(pkcs8: Vec<u8>) -> Option<Self> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).ok()?;
        Some(AccountKey { pair, pkcs8 })
    }

    /// The key, to be written to a file.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// What challenges are answered with (RFC 7638).
    pub fn thumbprint(&self) -> String {
        let (x, y) = self.point();
        // The members in the order of their names, and nothing else.
        BASE64.encode(digest(&SHA256, format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#).as_bytes()))
    }

    fn point(&self) -> (String, String) {
        // Uncompressed: a byte that says so, then the coordinates.
        let (x, y) = self.pair.public_key().as_ref().split_at(33);
        (BASE64.encode(&x[1..]), BASE64.encode(y))
    }

    fn jwk(&self) -> Value {
        let (x, y) = self.point();
        json!({ "crv": "P-256", "kty": "EC", "x": x, "y": y })
    }

    /// What binds this key to an external account: its public half, signed with that account's key.
    pub fn bind(&self, to: &Binding, url: &str) -> Value {
        let protected = json!({ "alg": "HS256", "kid": to.id, "url": url });
        let key = hmac::Key::new(hmac::HMAC_SHA256, &to.key);
        envelope(&protected, Some(&self.jwk()), |input| Some(hmac::sign(&key, input).as_ref().to_vec()))
            .unwrap_or_default()
    }

    fn sign(&self, by: Signer<'_>, nonce: &str, url: &str, payload: Option<&Value>) -> Option<Value> {
        let protected = match by {
            Signer::Key => json!({ "alg": "ES256", "jwk": self.jwk(), "nonce": nonce, "url": url }),
            Signer::Account(id) => json!({ "alg": "ES256", "kid": id, "nonce": nonce, "url": url }),
        };
        envelope(&protected, payload, |input| Some(self.pair.sign(&SystemRandom::new(), input).ok()?.as_ref().to_vec()))
    }
}

/// The flattened form of a signed request. Without a payload it is a POST-as-GET.
fn envelope(protected: &Value, payload: Option<&Value>, sign: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Option<Value> {
    let protected = BASE64.encode(protected.to_string());
    let payload = payload.map(|payload| BASE64.encode(payload.to_string())).unwrap_or_default();
    let signature = BASE64.encode(sign(format!("{protected}.{payload}").as_bytes())?);
    Some(json!({ "protected": protected, "payload": payload, "signature": signature }))
}

/// Signs a request and sends it, again as long as the authority wants another nonce, and when an answer is lost: all that
/// is asked here is safe to ask twice.
pub(super) async fn post(
    transport: &Arc<Transport>,
    key: &AccountKey,
    by: Signer<'_>,
    url: &str,
    payload: Option<&Value>,
) -> Result<Response<Bytes>, Fault> {
    let mut retries = Retries::new(LOSSES);
    let mut nonce = None;
    loop {
        match attempt(transport, key, by, url, payload, nonce.take()).await {
            Ok(answer) if answer.status().is_success() => return Ok(answer),
            Ok(answer) => {
                nonce = nonce_of(&answer);
                let refusal = Refusal { kind: "badNonce".to_owned(), ..Refusal::bare(answer.status().as_u16(), None) };
                retries.after(Fault::Refused(refusal)).await?;
            }
            Err(fault) => retries.after(fault).await?,
        }
    }
}

async fn attempt(
    transport: &Arc<Transport>,
    key: &AccountKey,
    by: Signer<'_>,
    url: &str,
    payload: Option<&Value>,
    nonce: Option<String>,
) -> Result<Response<Bytes>, Fault> {
    let nonce = match nonce {
        Some(nonce) => nonce,
        None => fresh(transport).await?,
    };
    let body = key.sign(by, &nonce, url, payload).ok_or_else(|| Fault::Local("can't sign".to_owned()))?;
    let request = Request::post(url).header(header::CONTENT_TYPE, "application/jose+json");
    let request = request.body(body.to_string().into_bytes());
    transport.exchange(request.map_err(|error| Fault::Senseless(format!("the address {url:?}: {error}")))?).await
}

async fn fresh(transport: &Arc<Transport>) -> Result<String, Fault> {
    let request = Request::head(&transport.directory().await?.new_nonce).body(Vec::new());
    let request = request.map_err(|error| Fault::Senseless(format!("its address for nonces: {error}")))?;
    let answer = transport.exchange(request).await?;
    nonce_of(&answer).ok_or_else(|| Fault::Senseless("it gave no nonce".to_owned()))
}

fn nonce_of(answer: &Response<Bytes>) -> Option<String> {
    Some(answer.headers().get("replay-nonce")?.to_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    fn decode(value: &Value) -> Vec<u8> {
        BASE64.decode(value.as_str().unwrap()).unwrap()
    }

    #[test]
    fn what_is_signed_can_be_checked() {
        let key = AccountKey::generate().unwrap();
        let again = AccountKey::from_pkcs8(key.pkcs8().to_vec()).unwrap();
        assert_eq!((key.jwk(), key.thumbprint().len()), (again.jwk(), 43));

        let signed = key.sign(Signer::Account("https://ca/1"), "n", "https://ca/x", Some(&json!({"a": 1}))).unwrap();
        let protected: Value = serde_json::from_slice(&decode(&signed["protected"])).unwrap();
        assert_eq!(protected, json!({"alg": "ES256", "kid": "https://ca/1", "nonce": "n", "url": "https://ca/x"}));
        let input = format!("{}.{}", signed["protected"].as_str().unwrap(), signed["payload"].as_str().unwrap());
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, again.pair.public_key().as_ref());
        public.verify(input.as_bytes(), &decode(&signed["signature"])).unwrap();
        assert!(public.verify(b"other", &decode(&signed["signature"])).is_err());
        assert_eq!(key.sign(Signer::Key, "n", "u", None).unwrap()["payload"], "");

        let binding = Binding { id: "kid-1".into(), key: b"secret".to_vec() };
        let bound = key.bind(&binding, "https://ca/new");
        let input = format!("{}.{}", bound["protected"].as_str().unwrap(), bound["payload"].as_str().unwrap());
        let hmac_key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        hmac::verify(&hmac_key, input.as_bytes(), &decode(&bound["signature"])).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&decode(&bound["payload"])).unwrap(), key.jwk());
    }

    #[test]
    fn a_thumbprint_is_that_of_its_standard() {
        // The key of RFC 7515, appendix A.3, as PKCS#8, and its thumbprint computed with Python.
        let (x, y) = ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
        let d = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";
        let mut pkcs8 = vec![
            0x30, 0x81, 0x87, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
            0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x6d, 0x30, 0x6b, 0x02, 0x01, 0x01, 0x04, 0x20,
        ];
        pkcs8.extend(BASE64.decode(d).unwrap());
        pkcs8.extend([0xa1, 0x44, 0x03, 0x42, 0x00, 0x04]);
        pkcs8.extend(BASE64.decode(x).unwrap());
        pkcs8.extend(BASE64.decode(y).unwrap());
        let key = AccountKey::from_pkcs8(pkcs8).unwrap();
        assert_eq!(key.jwk(), json!({"crv": "P-256", "kty": "EC", "x": x, "y": y}));
        assert_eq!(key.thumbprint(), THUMBPRINT);
    }

    const THUMBPRINT: &str = "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U";
}
