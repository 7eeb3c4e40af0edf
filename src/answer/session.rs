//! Answers as Pingora's sessions write them.

use bytes::Bytes;
use http::header;
use pingora::http::ResponseHeader;

use super::Answer;

/// An answer that needs nothing more than to be written.
#[derive(Debug)]
pub struct Ready {
    /// Status and fields, with `Content-Length`; `Date` and `Connection` are Pingora's.
    pub header: Box<ResponseHeader>,
    /// The body, also of an answer to HEAD.
    pub body: Bytes,
}

impl Ready {
    /// An answer for a session.
    ///
    /// # Errors
    /// If a value can't stand in a header. Values were checked when the routes were read, so this is a mistake of ours.
    pub fn new(answer: &Answer<'_>) -> pingora::Result<Self> {
        let mut header = ResponseHeader::build_no_case(answer.status, Some(12))?;
        let mut outcome = Ok(());
        answer.headers(|name, value| {
            if outcome.is_ok() {
                outcome = header.insert_header(name, value);
            }
        });
        outcome?;
        header.insert_header(header::CONTENT_LENGTH, answer.body.len())?;
        Ok(Ready { header: Box::new(header), body: answer.body.clone() })
    }
}
