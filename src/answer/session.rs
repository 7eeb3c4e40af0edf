//! Answers as the headers of Pingora sessions.

use http::header;
use pingora::http::ResponseHeader;

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
