//! The date of an answer, on its way past Pingora.

use std::sync::{Arc, OnceLock};

use http::{HeaderMap, HeaderValue, header};

/// When an answer was made, as its platform said it: Pingora writes its own time over that, and the door writes it back
/// (HTTP/1). Nothing is left where the platform has said nothing, or said it in another form than it should.
#[derive(Clone, Debug, Default)]
pub struct AnswerDate(Arc<OnceLock<HeaderValue>>);

impl AnswerDate {
    /// As long as every date that may be sent is (RFC 9110, 5.6.7).
    pub const LENGTH: usize = "Sun, 06 Nov 1994 08:49:37 GMT".len();

    /// Leaves the date that the fields of an answer have.
    pub fn leave(&self, fields: &HeaderMap) {
        if let Some(date) = fields.get(header::DATE).filter(|date| date.len() == Self::LENGTH) {
            // An answer has one head, and so one date.
            let _ = self.0.set(date.clone());
        }
    }

    /// What was left.
    pub fn get(&self) -> Option<&[u8]> {
        Some(self.0.get()?.as_bytes())
    }
}
