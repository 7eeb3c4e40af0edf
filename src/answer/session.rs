//! Answers written to a Pingora session.

use bytes::Bytes;
use http::header;
use pingora::http::ResponseHeader;
use pingora::protocols::http::ServerSession;

use super::Answer;

/// The header of an answer, with its `Content-Length`; `Date` and `Connection` are Pingora's.
///
/// # Errors
/// If a value can't stand in a header. Values were checked when the routes were read, so this is a mistake of ours.
pub fn header(answer: &Answer<'_>) -> pingora::Result<Box<ResponseHeader>> {
    let mut header = ResponseHeader::build_no_case(answer.status, Some(12))?;
    let mut outcome = Ok(());
    answer.headers(|name, value| {
        if outcome.is_ok() {
            outcome = header.insert_header(name, value);
        }
    });
    outcome?;
    header.insert_header(header::CONTENT_LENGTH, answer.body.len())?;
    Ok(Box::new(header))
}

/// Writes an answer; `body` is empty for HEAD, whatever the header says.
///
/// # Errors
/// If the client is gone.
pub async fn write(session: &mut ServerSession, header: Box<ResponseHeader>, body: Bytes) -> pingora::Result<()> {
    session.write_response_header(header).await?;
    if body.is_empty() { Ok(()) } else { session.write_response_body(body, true).await }
}
