//! Those who are answered: a session of Pingora's, or the door's own connection.

use bytes::Bytes;
use http::{HeaderMap, Version, header};
use pingora::http::ResponseHeader;
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use super::AnswerDate;
use crate::cache::{Body, Interim, usual_name};

/// A client that has asked for something that the cache may answer.
pub trait Client: Send {
    /// The version of its request.
    fn version(&self) -> Version;

    /// Sends the head of an interim answer, if the client can take one.
    fn interim(&mut self, interim: &Interim) -> impl Future<Output = Result<()>> + Send;

    /// Sends an answer, to its end. `fields` are all but those of the connection.
    fn answer(&mut self, status: u16, fields: HeaderMap, body: Body) -> impl Future<Output = Result<()>> + Send;

    /// Bytes of the answer's body that were sent.
    fn sent(&self) -> u64;

    /// Waits until the client has gone. May be dropped and called again.
    fn gone(&mut self) -> impl Future<Output = Box<Error>> + Send;
}

/// A session of Pingora's, and where the date of its answer is left.
pub(super) struct SessionClient<'s> {
    pub session: &'s mut Session,
    pub date: &'s AnswerDate,
}

impl Client for SessionClient<'_> {
    fn version(&self) -> Version {
        self.session.req_header().version
    }

    /// (Pingora doesn't send it over HTTP/2.)
    async fn interim(&mut self, interim: &Interim) -> Result<()> {
        if self.version() == Version::HTTP_10 {
            // RFC 9110, 15.2.
            return Ok(());
        }
        self.session.write_response_header(Box::new(head(interim.status, &interim.fields)?), false).await
    }

    async fn answer(&mut self, status: u16, fields: HeaderMap, body: Body) -> Result<()> {
        self.date.leave(&fields);
        let session = &mut *self.session;
        let mut head = head(status, &fields)?;
        let is_stream = matches!(body, Body::Stream(_));
        if is_stream && !fields.contains_key(header::CONTENT_LENGTH) {
            match session.req_header().version {
                Version::HTTP_11 => head.insert_header(header::TRANSFER_ENCODING, "chunked")?,
                // The end of the connection is the end of the body.
                Version::HTTP_10 => session.set_keepalive(None),
                _ => {}
            }
        }
        session.write_response_header(Box::new(head), matches!(body, Body::Empty)).await?;
        match body {
            Body::Empty => {}
            Body::Pieces(pieces) => {
                let last = pieces.len().saturating_sub(1);
                for (number, piece) in pieces.into_iter().enumerate() {
                    session.write_response_body(Some(piece), number == last).await?;
                }
            }
            Body::Stream(mut reader) => loop {
                let piece = tokio::select! {
                    biased;
                    piece = reader.next() => piece,
                    gone = session.downstream_session.read_body_or_idle(true) => return Err(gave_up(gone)),
                };
                match piece {
                    Some(Ok(piece)) => session.write_response_body(Some(piece), false).await?,
                    Some(Err(aborted)) => {
                        // A client must not take what it has for all of it.
                        session.set_keepalive(None);
                        return Err(broke_off(aborted));
                    }
                    None => {
                        match reader.trailers() {
                            Some(trailers) if session.req_header().version == Version::HTTP_2 => {
                                session.downstream_session.write_response_trailers(trailers).await?;
                            }
                            _ => session.write_response_body(None, true).await?,
                        }
                        break;
                    }
                }
            },
        }
        Ok(())
    }

    fn sent(&self) -> u64 {
        self.session.body_bytes_sent() as u64
    }

    async fn gone(&mut self) -> Box<Error> {
        gave_up(self.session.downstream_session.read_body_or_idle(true).await)
    }
}

/// What it is that a body breaks off.
pub fn broke_off(aborted: crate::cache::Aborted) -> Box<Error> {
    Error::because(ErrorType::ConnectionClosed, "an answer of a platform", aborted).into_up()
}

/// What it is that the client has closed the connection.
fn gave_up(gone: Result<Option<Bytes>>) -> Box<Error> {
    gone.err().unwrap_or_else(|| Error::new(ErrorType::ConnectionClosed)).into_down()
}

/// A head with names as the short way writes them. (Over HTTP/2 they are in lower case.)
fn head(status: u16, fields: &HeaderMap) -> Result<ResponseHeader> {
    let mut head = ResponseHeader::build(status, Some(fields.len() + 1))?;
    for (name, value) in fields {
        head.append_header(usual_name(name).collect::<Bytes>(), value)?;
    }
    Ok(head)
}
