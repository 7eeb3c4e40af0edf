//! What happens to a platform's answer on its way to clients: links, header fields, compression.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::answer::{PERMISSIONS_POLICY, Relayed};
use crate::config::Protection;
use crate::model::Host;
use crate::rewrite::{self, Body, Coding, Encoder, Failure, Links};
use crate::routing::REFUSED_PATH;
use crate::telemetry::Journal;

/// The way of one answer's body. Without a step it passes as it is.
#[derive(Default)]
pub(super) struct Transform {
    body: Option<Body>,
    encoder: Option<Encoder>,
    plain: Vec<u8>,
}

/// What is known of an answer beside its head.
pub(super) struct Wanted<'a> {
    /// How links must look, where they are rewritten.
    pub links: Option<&'a Links>,
    pub relayed: &'a Relayed,
    /// The host that the client asked for, as sent.
    pub asked: &'a [u8],
    /// The platform's own host.
    pub own: Option<&'a str>,
    /// `Strict-Transport-Security`, over HTTPS.
    pub hsts: Option<&'a str>,
    /// What the client, or everyone who may get the answer, takes.
    pub accept_encoding: Option<&'a str>,
    /// Whether a body will come. Without one, the answer to HEAD says what that to GET would.
    pub has_body: bool,
}

impl Transform {
    /// Changes the head as it has to be; the way of the body that follows it.
    pub fn new(status: u16, fields: &mut HeaderMap, wanted: &Wanted<'_>) -> Self {
        if let Some(links) = wanted.links {
            rewrite::headers(links, fields);
        }
        wanted.confine(fields);
        wanted.relayed.serving().headers.apply(fields);
        if let Some(site) = wanted.relayed.site().filter(|site| site.protection.relayed) {
            protect(&site.protection, fields);
        }
        if let Some(hsts) = wanted.hsts.and_then(|hsts| HeaderValue::from_str(hsts).ok()) {
            fields.insert(header::STRICT_TRANSPORT_SECURITY, hsts);
        }
        let is_whole = status >= 200 && !matches!(status, 204 | 205 | 206 | 304);
        if !is_whole || rewrite::no_transform(fields) {
            return Transform::default();
        }
        let content_type = fields.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let codings = rewrite::codings(fields);
        let body = match (wanted.links, &codings) {
            (Some(links), Some(codings)) => Body::new(links.clone(), content_type.as_deref(), codings),
            _ => None,
        };
        let is_plain = body.is_some() || codings.is_some_and(|codings| codings.is_empty());
        let mut encoder = None;
        if is_plain && content_type.as_deref().is_some_and(rewrite::is_compressible) && is_worth_it(fields) {
            encoder = rewrite::negotiate(wanted.accept_encoding, OFFERED).and_then(Encoder::new);
            rewrite::vary_by_coding(fields);
        }
        if body.is_some() || encoder.is_some() {
            rewrite::changed(fields, encoder.as_ref().map(Encoder::coding));
        }
        if !wanted.has_body {
            return Transform::default();
        }
        Transform { body, encoder, plain: Vec::new() }
    }

    /// Whether bytes change.
    pub fn is_some(&self) -> bool {
        self.body.is_some() || self.encoder.is_some()
    }

    /// Takes a piece of the body; what is ready of what becomes of it.
    ///
    /// # Errors
    /// If the body is broken: the answer has to be aborted.
    pub fn write(&mut self, piece: Bytes) -> Result<Bytes, Failure> {
        if !self.is_some() {
            return Ok(piece);
        }
        let mut out = Vec::new();
        match (&mut self.body, &mut self.encoder) {
            (Some(body), None) => body.write(&piece, &mut out)?,
            (None, Some(encoder)) => encoder.write(&piece, &mut out)?,
            (Some(body), Some(encoder)) => {
                self.plain.clear();
                body.write(&piece, &mut self.plain)?;
                encoder.write(&self.plain, &mut out)?;
            }
            (None, None) => {}
        }
        Ok(out.into())
    }

    /// The body is over; what is left.
    ///
    /// # Errors
    /// If it broke off.
    pub fn end(&mut self) -> Result<Bytes, Failure> {
        let (body, encoder) = (self.body.take(), self.encoder.take());
        let mut plain = Vec::new();
        if let Some(mut body) = body {
            body.end(&mut plain)?;
        }
        let Some(mut encoder) = encoder else { return Ok(plain.into()) };
        let mut out = Vec::new();
        encoder.write(&plain, &mut out)?;
        encoder.end(&mut out)?;
        Ok(out.into())
    }
}

/// Adds the fields that an answer has none of.
fn protect(protection: &Protection, fields: &mut HeaderMap) {
    let wanted = [
        (header::X_CONTENT_TYPE_OPTIONS, Some("nosniff")),
        (header::REFERRER_POLICY, Some(&*protection.referrer)),
        (PERMISSIONS_POLICY, Some(&*protection.permissions)),
        // A policy of the platform's own may say more of frames than this can.
        (
            header::X_FRAME_OPTIONS,
            protection.frames.option().filter(|_| !fields.contains_key(header::CONTENT_SECURITY_POLICY)),
        ),
    ];
    for (name, value) in wanted {
        if let Some(value) = value.filter(|value| !value.is_empty()).and_then(|value| HeaderValue::from_str(value).ok())
            && !fields.contains_key(&name)
        {
            fields.insert(name, value);
        }
    }
}

impl Wanted<'_> {
    /// Nobody is led to where the site may not send anybody.
    fn confine(&self, fields: &mut HeaderMap) {
        if !LEADING.iter().any(|name| fields.contains_key(name)) {
            return;
        }
        let asked = Host::parse(self.asked);
        let asked = asked.as_ref().map_or("", Host::as_str);
        let instead = HeaderValue::from_static(REFUSED_PATH);
        let refused = rewrite::confine(fields, &instead, |host| self.relayed.may_send_to(host, asked, self.own));
        if let Some(url) = refused {
            self.relayed.count_refused_target();
            JOURNAL.note(|count| {
                let platform = &self.relayed.platform;
                log::warn!(
                    "platform `{platform}` would send visitors of {asked} to {url:?}, whose host is not among the \
                     allowed targets ({count} such answers since the last line)"
                );
            });
        }
    }
}

/// Fields that lead somewhere.
const LEADING: [HeaderName; 3] = [header::LOCATION, header::REFRESH, header::LINK];

static JOURNAL: LazyLock<Journal> = LazyLock::new(Journal::default);

fn is_worth_it(fields: &HeaderMap) -> bool {
    let length = fields.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    length.is_none_or(|length| length >= WORTH_CODING)
}

const OFFERED: &[Coding] = &[Coding::Brotli, Coding::Zstd, Coding::Gzip];

/// Bytes of a body from which on compressing it is worth its head.
const WORTH_CODING: u64 = 256;
