//! Carries requests to the authority.

use std::{
    fs,
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, header};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};
use jiff::Timestamp;
use rustls::crypto::aws_lc_rs;
use serde::Deserialize;
use ureq::{
    Agent,
    tls::{PemItem, RootCerts, TlsConfig, parse_pem},
};

use super::fault::{Fault, Refusal};
use crate::config::AcmeSettings;

/// Where an authority wants what (RFC 8555, 7.1.1).
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Directory {
    pub new_nonce: String,
    pub new_account: String,
    pub new_order: String,
    /// Where it says when it would like certificates to be renewed (RFC 9773), if it does.
    #[serde(default)]
    pub renewal_info: Option<String>,
    #[serde(default)]
    pub meta: Meta,
}

/// What it wants.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meta {
    #[serde(default)]
    pub terms_of_service: Option<String>,
    #[serde(default)]
    pub external_account_required: bool,
    #[serde(default)]
    pub profiles: std::collections::BTreeMap<String, String>,
}

/// Carries requests to one authority. Nothing is sent twice here: what is safe to ask again is known to those who ask.
pub(super) struct Transport {
    agent: Agent,
    /// The directory's URL.
    url: String,
    /// As it was read and checked.
    directory: OnceLock<(Bytes, Directory)>,
    /// When the last answer that said so wants the next question, in Unix seconds; 0 if the last did not say.
    again: AtomicI64,
}

impl Transport {
    /// To the authority of `[acme]`.
    ///
    /// # Errors
    /// If there is none, or the file of roots can't be used.
    pub fn new(settings: &AcmeSettings) -> Result<Arc<Self>, Fault> {
        let url = settings.directory.clone().ok_or_else(|| Fault::Settings("[acme] names no directory".to_owned()))?;
        let mut tls = TlsConfig::builder().unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()));
        if let Some(path) = &settings.root {
            let wrong = |why: &str| Fault::Settings(format!("[acme] root, {}: {why}", path.display()));
            let text = fs::read(path).map_err(|error| wrong(&error.to_string()))?;
            let items = parse_pem(&text).filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            });
            let roots = items.collect::<Result<Vec<_>, _>>().map_err(|error| wrong(&error.to_string()))?;
            if roots.is_empty() {
                return Err(wrong("it holds no certificate"));
            }
            tls = tls.root_certs(RootCerts::Specific(Arc::new(roots)));
        }
        let config = Agent::config_builder()
            .tls_config(tls.build())
            .https_only(true)
            // Who is asked says gateway.toml alone.
            .proxy(None)
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT))
            .timeout_global(Some(TIME))
            .user_agent(concat!("waypost/", env!("CARGO_PKG_VERSION")));
        Ok(Arc::new(Transport {
            agent: config.build().into(),
            url,
            directory: OnceLock::new(),
            again: AtomicI64::new(0),
        }))
    }

    /// The directory's URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The directory, which is read once.
    pub async fn directory(self: &Arc<Self>) -> Result<&Directory, Fault> {
        if let Some((_, directory)) = self.directory.get() {
            return Ok(directory);
        }
        let request = Request::get(&self.url).body(Vec::new());
        let request = request.map_err(|error| Fault::Settings(format!("[acme] directory: {error}")))?;
        let body = self.exchange(request).await?.into_body();
        let directory: Directory =
            serde_json::from_slice(&body).map_err(|error| Fault::Senseless(format!("its directory: {error}")))?;
        // What is no URL makes `instant_acme` panic.
        for url in [&directory.new_nonce, &directory.new_account, &directory.new_order] {
            if url.parse::<http::Uri>().is_ok_and(|url| url.scheme_str() == Some("https")) {
                continue;
            }
            return Err(Fault::Senseless(format!("its directory has an address that is none: {url:?}")));
        }
        Ok(&self.directory.get_or_init(|| (body, directory)).1)
    }

    /// Sends a request and reads the answer. What the authority refuses is a fault, but for a nonce that it does not
    /// take: who signed the request signs it again.
    pub async fn exchange(self: &Arc<Self>, request: Request<Vec<u8>>) -> Result<Response<Bytes>, Fault> {
        let transport = self.clone();
        // It blocks: for seconds, if the authority is slow.
        let done = tokio::task::spawn_blocking(move || transport.send(request)).await;
        done.unwrap_or_else(|error| Err(Fault::Local(format!("a request was not sent: {error}"))))
    }

    /// Seconds until the authority wants to be asked again, if its last answer said so.
    pub fn take_pause(&self, now: i64) -> Option<u64> {
        let again = self.again.swap(0, Ordering::Relaxed);
        (again != 0).then(|| u64::try_from(again.saturating_sub(now)).unwrap_or(0))
    }

    fn send(&self, mut request: Request<Vec<u8>>) -> Result<Response<Bytes>, Fault> {
        // Ours says who asks; that of the library would hide it.
        request.headers_mut().remove(header::USER_AGENT);
        let unreachable = |error: ureq::Error| Fault::Unreachable(error.to_string());
        let answer = match *request.method() {
            Method::POST => self.agent.run(request),
            _ => self.agent.run(request.map(|_| ())),
        };
        let (parts, mut body) = answer.map_err(unreachable)?.into_parts();
        let body = body.with_config().limit(MAX_BODY).read_to_vec().map_err(unreachable)?;
        let until = retry_after(&parts.headers);
        self.again.store(until.unwrap_or(0), Ordering::Relaxed);
        if parts.status.is_success() {
            return Ok(Response::from_parts(parts, body.into()));
        }
        let problem = serde_json::from_slice::<Problem>(&body).ok();
        if let Some(problem) = &problem
            && problem.r#type.as_deref() == Some(BAD_NONCE)
        {
            return Ok(Response::from_parts(parts, body.into()));
        }
        let status = parts.status.as_u16();
        Err(Fault::Refused(match problem {
            Some(problem) => Refusal::of(status, &problem, until),
            None => Refusal::bare(status, until),
        }))
    }
}

/// The transport as `instant_acme` wants it.
pub(super) struct Carrier(pub Arc<Transport>);

impl HttpClient for Carrier {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let transport = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            // Asked for with every account that is opened.
            if parts.method == Method::GET && parts.uri == *transport.url {
                transport.directory().await.map_err(other)?;
                if let Some((body, _)) = transport.directory.get() {
                    return Ok(answer(Response::new(body.clone())));
                }
            }
            // Only as an answer's it is read without another crate.
            let body = BytesResponse::from(Response::new(body)).body.into_bytes().await.map_err(Error::Other)?;
            transport.exchange(Request::from_parts(parts, body.to_vec())).await.map(answer).map_err(other)
        })
    }
}

fn answer(answer: Response<Bytes>) -> BytesResponse {
    let (parts, body) = answer.into_parts();
    BytesResponse { parts, body: Box::new(body) }
}

fn other(fault: Fault) -> Error {
    Error::Other(Box::new(fault))
}

/// When `Retry-After` wants the next question (RFC 9110, 10.2.3), in Unix seconds.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<i64> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    match value.parse::<u32>() {
        Ok(seconds) => Some(now() + i64::from(seconds)),
        Err(_) => jiff::fmt::rfc2822::parse(value).ok().map(|time| time.timestamp().as_second()),
    }
}

/// Unix seconds.
pub(super) fn now() -> i64 {
    Timestamp::now().as_second()
}

const BAD_NONCE: &str = "urn:ietf:params:acme:error:badNonce";

/// How long connecting may take, and a request as a whole.
const CONNECT: Duration = Duration::from_secs(10);
const TIME: Duration = Duration::from_secs(60);

/// Longest answer that is read, in bytes: a chain of certificates has some thousands, an order of 100 names twenty.
const MAX_BODY: u64 = 1024 * 1024;

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::Local(error.to_string())
    }
}
