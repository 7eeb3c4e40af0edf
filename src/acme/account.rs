//! The account at an authority: its key is made once, is on disk before anything is signed with it, and is registered as
//! often as it takes: to an authority, a key that it knows is the same account.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD as BASE64, Engine};
use http::header;
use instant_acme::{Account, Identifier, OrderStatus};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::sleep;

use super::fault::{Fault, plain};
use super::signed::{AccountKey, Binding, Signer, post};
use super::transport::{Carrier, Directory, Transport};
use crate::config::AcmeSettings;
use crate::tls::{Passphrase, seal, unseal, write_secret};

/// Tries again as long as the authority wants another nonce: `instant_acme` does so three times, and authorities may
/// refuse more. What is `safe` to ask twice is asked again, too, when an answer is lost: an order of 100 names takes
/// hundreds of requests. The call is written so that it can be made anew.
macro_rules! retried {
    (safe $call:expr) => {
        retried!(crate::acme::account::LOSSES, $call)
    };
    ($call:expr) => {
        retried!(0, $call)
    };
    ($losses:expr, $call:expr) => {{
        let mut retries = crate::acme::account::Retries::new($losses);
        loop {
            match $call.await {
                Ok(done) => break Ok(done),
                Err(error) => {
                    if let Err(fault) = retries.after(error).await {
                        break Err(fault);
                    }
                }
            }
        }
    }};
}
pub(super) use retried;

/// An authority that knows us.
pub(super) struct Authority {
    /// Asks it, in all that the library can ask.
    pub account: Account,
    pub transport: Arc<Transport>,
    key: AccountKey,
    id: String,
}

/// The account's file.
#[derive(Serialize, Deserialize)]
struct Stored {
    directory: String,
    /// PEM, locked if there is a passphrase.
    key: String,
    /// The account's URL, once the authority has told it.
    id: Option<String>,
    /// Whom the authority was told that it may write to.
    #[serde(default)]
    contact: Vec<String>,
}

impl Authority {
    /// The authority of `[acme]`, with the account whose file is in the folder of states. A new account is registered.
    /// Only whoever has the journal may call this.
    ///
    /// # Errors
    /// If the file can't be used, or the authority does not want us.
    pub async fn open(settings: &AcmeSettings, state: &Path, passphrase: Option<&Passphrase>) -> Result<Self, Fault> {
        let transport = Transport::new(settings)?;
        let path = path_of(state, transport.url());
        let (mut stored, key) = load(&path, transport.url(), passphrase)?;
        let directory = transport.directory().await?;
        if let Some(profile) = &settings.profile
            && !directory.meta.profiles.contains_key(profile)
        {
            let known: Vec<&str> = directory.meta.profiles.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Fault::Settings(format!("[acme] profile = {profile:?}: the authority offers {known}")));
        }
        let id = match stored.id.clone() {
            Some(id) => id,
            None => {
                let id = register(&transport, directory, &key, settings).await?;
                stored.id = Some(id.clone());
                stored.contact.clone_from(&settings.contact);
                store(&path, &stored)?;
                id
            }
        };
        let builder = Account::builder_with_http(Box::new(Carrier(transport.clone())));
        let secret = PrivatePkcs8KeyDer::from(key.pkcs8());
        let account = builder.from_parts(id.clone(), secret, transport.url().to_owned()).await?;
        if stored.contact != settings.contact {
            let contact: Vec<&str> = settings.contact.iter().map(String::as_str).collect();
            retried!(safe account.update_contacts(&contact))?;
            stored.contact.clone_from(&settings.contact);
            store(&path, &stored)?;
        }
        Ok(Authority { account, transport, key, id })
    }

    /// What challenges are answered with.
    pub fn thumbprint(&self) -> String {
        self.key.thumbprint()
    }

    /// Whether the authority says when it would like certificates to be renewed.
    pub async fn has_renewal_info(&self) -> bool {
        self.transport.directory().await.is_ok_and(|directory| directory.renewal_info.is_some())
    }

    /// The URL of an order for exactly these names (sorted) that waits for us and is none of the `known` ones, from the
    /// list that some authorities keep (RFC 8555, 7.1.2.1). Whoever was killed while placing an order finds it here.
    pub async fn find_order(&self, names: &[String], known: &[&str]) -> Result<Option<String>, Fault> {
        let directory = self.transport.directory().await?;
        let payload = json!({ "onlyReturnExisting": true });
        let answer = post(&self.transport, &self.key, Signer::Key, &directory.new_account, Some(&payload)).await?;
        #[derive(Deserialize)]
        struct Known {
            orders: Option<String>,
        }
        let account: Known = parse(answer.body())?;
        let mut page = account.orders;
        for _ in 0..MAX_PAGES {
            let Some(url) = page.take() else { break };
            let answer = match post(&self.transport, &self.key, Signer::Account(&self.id), &url, None).await {
                Ok(answer) => answer,
                // It names a list, and does not keep one.
                Err(Fault::Refused(refusal)) if matches!(refusal.status, 404 | 405 | 501) => break,
                Err(fault) => return Err(fault),
            };
            #[derive(Deserialize)]
            struct Page {
                orders: Vec<String>,
            }
            let listed: Page = parse(answer.body())?;
            for url in listed.orders.into_iter().filter(|url| !known.contains(&url.as_str())) {
                if self.waits(&url, names).await? {
                    return Ok(Some(url));
                }
            }
            page = next_page(answer.headers());
        }
        Ok(None)
    }

    async fn waits(&self, url: &str, names: &[String]) -> Result<bool, Fault> {
        #[derive(Deserialize)]
        struct Listed {
            status: OrderStatus,
            identifiers: Vec<Identifier>,
        }
        let answer = post(&self.transport, &self.key, Signer::Account(&self.id), url, None).await?;
        let order: Listed = parse(answer.body())?;
        let mut of: Vec<&str> = Vec::new();
        for identifier in &order.identifiers {
            match identifier {
                Identifier::Dns(name) => of.push(name),
                _ => return Ok(false),
            }
        }
        of.sort_unstable();
        // One that is finalized has a key, and was known before it got that.
        Ok(matches!(order.status, OrderStatus::Pending | OrderStatus::Ready) && of == names)
    }
}

/// Forgets that the authority knows the key, after it said that it does not: it is registered again, with the same key.
pub(super) fn forget(settings: &AcmeSettings, state: &Path, passphrase: Option<&Passphrase>) -> Result<(), Fault> {
    let Some(directory) = &settings.directory else { return Ok(()) };
    let path = path_of(state, directory);
    let (mut stored, _) = load(&path, directory, passphrase)?;
    stored.id = None;
    store(&path, &stored)
}

/// What may still be tried again.
pub(super) struct Retries {
    nonces: u32,
    losses: u32,
}

impl Retries {
    /// `losses` is how many answers may be lost.
    pub fn new(losses: u32) -> Self {
        Retries { nonces: NONCES, losses }
    }

    /// Returns when it is time to try again after an error.
    ///
    /// # Errors
    /// If that makes no sense: why.
    pub async fn after(&mut self, error: impl Into<Fault>) -> Result<(), Fault> {
        let fault = error.into();
        if fault.refused("badNonce").is_some() && self.nonces > 0 {
            self.nonces -= 1;
            return Ok(());
        }
        if matches!(fault, Fault::Unreachable(_)) && self.losses > 0 {
            self.losses -= 1;
            sleep(LOSS_PAUSE).await;
            return Ok(());
        }
        Err(fault)
    }
}

/// How often a call is made anew for a nonce, of which each try of `instant_acme` takes three. Half of them being refused is
/// more than any authority does.
const NONCES: u32 = 24;

/// How many answers to what is safe to ask again may be lost, one after the other, and the pause after each.
pub(super) const LOSSES: u32 = 3;
const LOSS_PAUSE: Duration = Duration::from_millis(500);

async fn register(
    transport: &Arc<Transport>,
    directory: &Directory,
    key: &AccountKey,
    settings: &AcmeSettings,
) -> Result<String, Fault> {
    let binding = match &settings.binding {
        Some((id, file)) => Some(Binding { id: id.clone(), key: binding_key(file)? }),
        None if directory.meta.external_account_required => return Err(Fault::Settings(WANTS_EXTERNAL.to_owned())),
        None => None,
    };
    if !settings.agrees {
        let terms = directory.meta.terms_of_service.as_deref().map(|url| format!(", {}", plain(url)));
        let terms = terms.unwrap_or_default();
        return Err(Fault::Settings(format!("read the authority's terms{terms}, and set [acme] agree-terms = true")));
    }
    let mut payload = json!({ "termsOfServiceAgreed": true });
    if !settings.contact.is_empty() {
        payload["contact"] = json!(settings.contact);
    }
    if let Some(binding) = &binding {
        payload["externalAccountBinding"] = key.bind(binding, &directory.new_account);
    }
    let answer = post(transport, key, Signer::Key, &directory.new_account, Some(&payload)).await;
    let answer = answer.map_err(|fault| match fault {
        Fault::Refused(refusal) => match refusal.kind.as_str() {
            "externalAccountRequired" => Fault::Settings(WANTS_EXTERNAL.to_owned()),
            "invalidContact" | "unsupportedContact" => Fault::Settings(format!("[acme] contact: {refusal}")),
            "userActionRequired" => Fault::Settings(format!("the authority's terms: {refusal}")),
            _ if binding.is_some() && matches!(refusal.status, 400..=403) => {
                Fault::Settings(format!("no account, perhaps for [acme] eab-id and eab-key-file: {refusal}"))
            }
            _ => Fault::Refused(refusal),
        },
        fault => fault,
    })?;
    let id = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
    id.map(str::to_owned).ok_or_else(|| Fault::Senseless("it registered an account and did not name it".to_owned()))
}

/// The key of the external account, as authorities give it: base64url, by some with padding, by some in the other
/// alphabet.
fn binding_key(path: &Path) -> Result<Vec<u8>, Fault> {
    let wrong = |why: &str| Fault::Settings(format!("[acme] eab-key-file, {}: {why}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| wrong(&error.to_string()))?;
    let text = text.trim().trim_end_matches('=');
    let decoded = BASE64.decode(text).or_else(|_| BASE64_STANDARD_NO_PAD.decode(text));
    decoded.ok().filter(|key| !key.is_empty()).ok_or_else(|| wrong("this is no base64url"))
}

fn path_of(state: &Path, directory: &str) -> PathBuf {
    let hash = digest(&SHA256, directory.as_bytes());
    let hash: String = hash.as_ref().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    state.join(format!("account-{hash}.json"))
}

/// The account of the file; a new key, which is on disk, if there is none.
fn load(path: &Path, directory: &str, passphrase: Option<&Passphrase>) -> Result<(Stored, AccountKey), Fault> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let key = AccountKey::generate()?;
            let stored = Stored {
                directory: directory.to_owned(),
                key: seal(key.pkcs8(), passphrase).map_err(|error| Fault::file(path, &error))?,
                id: None,
                contact: Vec::new(),
            };
            store(path, &stored)?;
            return Ok((stored, key));
        }
        Err(error) => return Err(Fault::file(path, &error)),
    };
    // What is wrong with it is not told: it would quote the key.
    let damaged = || {
        let name = path.display();
        Fault::Local(format!("{name} holds no account: put it back from a backup, or remove it to begin a new account"))
    };
    let stored: Stored = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
    let key = unseal(&stored.key, passphrase).map_err(|error| Fault::file(path, &error))?;
    let key = AccountKey::from_pkcs8(key).ok_or_else(damaged)?;
    Ok((stored, key))
}

fn store(path: &Path, stored: &Stored) -> Result<(), Fault> {
    let text = serde_json::to_vec_pretty(stored).map_err(|error| Fault::Local(error.to_string()))?;
    write_secret(path, &text).map_err(|error| Fault::file(path, &error))
}

fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Fault> {
    serde_json::from_slice(body).map_err(|error| Fault::Senseless(error.to_string()))
}

/// Where the list goes on (RFC 8288).
fn next_page(headers: &header::HeaderMap) -> Option<String> {
    headers
        .get_all(header::LINK)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .find_map(|link| {
            let (url, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
            parameters.split(';').any(|one| matches!(one.trim(), "rel=\"next\"" | "rel=next")).then(|| url.to_owned())
        })
}

const WANTS_EXTERNAL: &str =
    "the authority wants an account of its own first: set [acme] eab-id and eab-key-file to what it gave you";

/// Pages of an account's orders that are looked at. Those that wait are few, and authorities need not list others.
const MAX_PAGES: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_on_disk_before_it_is_used_and_stays_the_same() {
        let state = tempfile::tempdir().unwrap();
        let path = path_of(state.path(), "https://ca.example/dir");
        let (_, key) = load(&path, "https://ca.example/dir", None).unwrap();
        let (stored, again) = load(&path, "https://ca.example/dir", None).unwrap();
        assert_eq!(key.thumbprint(), again.thumbprint());
        assert_eq!(stored.id, None);
        assert_ne!(path, path_of(state.path(), "https://other.example/dir"));
        for damaged in ["{\"directory\":\"x\",\"key\":\"c2VjcmV0\"}", "{\"key\":\"c2VjcmV0"] {
            fs::write(&path, damaged).unwrap();
            let fault = load(&path, "https://ca.example/dir", None).err().unwrap().to_string();
            assert!(fault.contains("account-") && !fault.contains("c2VjcmV0"), "{fault}");
            assert_eq!(fs::read_to_string(&path).unwrap(), damaged, "nothing is lost");
        }
    }

    #[test]
    fn keys_of_external_accounts_are_read_as_authorities_give_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("eab");
        for text in ["_-8", "_-8=\n", "/+8"] {
            fs::write(&path, text).unwrap();
            assert_eq!(binding_key(&path).unwrap(), [0xff, 0xef], "{text}");
        }
        for text in ["", "no key!"] {
            fs::write(&path, text).unwrap();
            assert!(binding_key(&path).unwrap_err().to_string().contains("eab-key-file"));
        }
    }

    #[test]
    fn lists_go_on_where_they_say() {
        let mut headers = header::HeaderMap::new();
        headers.append(header::LINK, "<https://ca/dir>;rel=\"index\"".parse().unwrap());
        assert_eq!(next_page(&headers), None);
        headers.append(header::LINK, "<https://ca/a>; rel=\"up\", <https://ca/2?c=3>; rel=\"next\"".parse().unwrap());
        assert_eq!(next_page(&headers), Some("https://ca/2?c=3".to_owned()));
    }
}
