//! The firewall's look at what is on its way to a platform: the head before anything is asked, the body before it is
//! passed on.
//!
//! A body is held back until all of it, or as much as is inspected, has come and was let through; then it goes on byte for
//! byte. So a platform that is asked may see the head of a request whose body is refused, but nothing of the body.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Version, header};
use pingora::http::RequestHeader;
use pingora::{Error, ErrorType};

use super::Visit;
use crate::answer::{Refusal, Relayed, Responder};
use crate::guard::waf::{Bound, Findings, Inspection, Mode, Request, Waf};
use crate::model::{Denial, Reason};
use crate::telemetry::WafAction;

/// What the firewall has still to see of a request.
#[derive(Default)]
pub(super) enum Pending {
    /// Nothing.
    #[default]
    None,
    /// The body, with what has come of it.
    Body(BytesMut),
}

impl Pending {
    /// The request is sent again from its beginning.
    pub fn restart(&mut self) {
        if let Pending::Body(held) = self {
            held.clear();
        }
    }
}

/// The head of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub method: &'a str,
    pub version: Version,
    pub fields: &'a HeaderMap,
}

impl<'a> Head<'a> {
    /// As Pingora has it.
    pub fn of(head: &'a RequestHeader) -> Self {
        Head { method: head.method.as_str(), version: head.version, fields: &head.headers }
    }
}

/// Asks the firewall about a request, or about its head alone (`body` is none). Tells and counts what it says.
pub(super) async fn ask(
    waf: &Arc<Waf>,
    responder: &Responder,
    visit: &Visit,
    relayed: &Relayed,
    head: Head<'_>,
    body: Option<(Bytes, bool)>,
) -> Option<Refusal> {
    let policy = &relayed.policy().waf;
    if policy.mode == Mode::Off {
        return None;
    }
    let (body, whole) = body.unwrap_or((Bytes::new(), true));
    let mut inspection = waf.inspect(policy, request(visit, head, body, whole)).await;
    if !whole && matches!(inspection, Inspection::Skipped | Inspection::Clean) {
        inspection = Inspection::Bound(Bound::Body);
    }
    let refused = policy.refuses(&inspection);
    let action = match &inspection {
        _ if refused => WafAction::Blocked,
        Inspection::Skipped => WafAction::Spared,
        Inspection::Clean => WafAction::Clean,
        Inspection::Found(findings) if policy.is_attack(findings) => WafAction::Detected,
        Inspection::Found(_) => WafAction::Clean,
        Inspection::Bound(_) => WafAction::Unchecked,
    };
    responder.count_waf(relayed, action);
    match &inspection {
        Inspection::Found(findings) => tell(waf, visit, relayed, findings, action),
        Inspection::Bound(bound) => waf.say(|| {
            let site = relayed.site().map_or("", |site| site.id.as_str());
            log::info!(target: "waypost::waf", "not inspected in full, since {}: site {site} {}", bound.text(), action.name());
        }),
        _ => {}
    }
    refused.then(|| {
        let denial = Denial::new(Reason::Waf);
        responder.count_denied(relayed, denial.reason);
        Refusal::denied(denial)
    })
}

/// Takes a piece of a body, and leaves what may be passed on. Why the request is refused, if it is.
pub(super) async fn body(
    pending: &mut Pending,
    piece: &mut Option<Bytes>,
    is_last: bool,
    limit: usize,
    ask: impl AsyncFnOnce(Bytes, bool) -> Option<Refusal>,
) -> Option<Refusal> {
    let Pending::Body(held) = pending else { return None };
    held.extend_from_slice(piece.as_deref().unwrap_or_default());
    if !is_last && held.len() <= limit {
        // None would be the end of the body.
        *piece = Some(Bytes::new());
        return None;
    }
    let all = std::mem::take(held).freeze();
    *pending = Pending::None;
    let whole = all.len() <= limit;
    let refusal = ask(all.slice(..all.len().min(limit)), whole).await;
    *piece = Some(all);
    refusal
}

/// What a refused request fails with.
pub(super) fn failure() -> Box<Error> {
    Error::explain(ErrorType::HTTPStatus(403), "the firewall refuses it").into_down()
}

fn request(visit: &Visit, head: Head<'_>, body: Bytes, whole: bool) -> Request {
    let mut fields: Vec<(String, Vec<u8>)> = Vec::with_capacity(head.fields.len() + 1);
    if !head.fields.contains_key(header::HOST)
        && let Some(host) = visit.facts.host.as_deref()
    {
        fields.push(("host".into(), host.to_vec()));
    }
    fields.extend(head.fields.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())));
    Request {
        method: head.method.to_owned(),
        target: visit.facts.target.to_vec(),
        version: match head.version {
            Version::HTTP_2 => "2.0",
            Version::HTTP_10 => "1.0",
            _ => "1.1",
        },
        fields,
        body,
        cut: !whole,
        client: visit.facts.client,
        // The site's.
        paranoia: 1,
    }
}

/// One line for each rule that matched.
fn tell(waf: &Waf, visit: &Visit, relayed: &Relayed, findings: &Findings, action: WafAction) {
    let site = relayed.site().map_or("", |site| site.id.as_str());
    let client = visit.facts.client.map_or_else(|| "-".to_owned(), |client| client.to_canonical().to_string());
    let path = visit.facts.target.split(|&byte| byte == b'?').next().unwrap_or_default();
    let path = path[..path.len().min(LONGEST_PATH)].escape_ascii().to_string();
    for hit in &findings.hits {
        waf.say(|| {
            log::info!(
                target: "waypost::waf",
                "rule {} ({}) site {site} client {client} score {} {} path {path}",
                hit.id, hit.message, findings.score, action.name(),
            );
        });
    }
}

/// Bytes of a path in a line of the log.
const LONGEST_PATH: usize = 200;
