//! The date of a platform's answer, put back.
//!
//! Pingora writes the time at which it sends into the head of every answer. But an answer has the date of its making
//! (RFC 9110, 6.6.1), from which its age is counted (RFC 9111, 4.2.3). What stands in a head that Pingora writes is as
//! long as what belongs there, so the one replaces the other on the way to the client. (Over HTTP/2 nothing can: h2
//! encodes heads.)

use std::borrow::Cow;

use memchr::memmem;

use crate::relay::AnswerDate;

/// The date of the answer that is being written.
pub(super) struct Dated {
    /// Where the relay leaves it.
    date: AnswerDate,
    course: Course,
}

/// How far it is.
enum Course {
    /// The head hasn't come.
    Before,
    /// How many bytes are yet to be written before the date, or how many of it are written, below zero.
    At(isize),
    Done,
}

impl Dated {
    pub fn new(date: AnswerDate) -> Self {
        Dated { date, course: Course::Before }
    }

    /// What is to be written instead of `bytes`. However much of it is, [`Self::written`] is to be told.
    pub fn overlay<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let Some(date) = self.date.get() else { return bytes.into() };
        if let Course::Before = self.course
            && is_final(bytes)
        {
            self.course = find(bytes).map_or(Course::Done, Course::At);
        }
        let Course::At(at) = self.course else { return bytes.into() };
        let mut dated = bytes.to_vec();
        for (number, &byte) in (at..).zip(date) {
            if let Some(place) = usize::try_from(number).ok().and_then(|number| dated.get_mut(number)) {
                *place = byte;
            }
        }
        dated.into()
    }

    /// So many bytes are written.
    pub fn written(&mut self, count: usize) {
        if let Course::At(at) = self.course {
            let at = at.saturating_sub_unsigned(count);
            self.course = if at <= -(AnswerDate::LENGTH as isize) { Course::Done } else { Course::At(at) };
        }
    }
}

/// Whether this is the head of an answer that isn't an interim one.
fn is_final(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.") && bytes.get(9).is_some_and(|&digit| digit != b'1')
}

/// Where the date is in a head, if it is as long as it should be.
fn find(head: &[u8]) -> Option<isize> {
    let at = memmem::find(head, b"\r\nDate: ")? + b"\r\nDate: ".len();
    head.get(at + AnswerDate::LENGTH..)?.starts_with(b"\r\n").then_some(at as isize)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::*;

    const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const NEW: &str = "Mon, 07 Nov 1994 09:50:38 GMT";

    fn dated(is_set: bool) -> Dated {
        let date = AnswerDate::default();
        if is_set {
            date.leave(&HeaderMap::from_iter([(header::DATE, HeaderValue::from_static(OLD))]));
        }
        Dated::new(date)
    }

    /// What comes of `pieces`, of which no more than `most` bytes are taken at a time.
    fn written(mut dated: Dated, pieces: &[&str], most: usize) -> String {
        let mut out = Vec::new();
        for piece in pieces {
            let mut rest = piece.as_bytes();
            while !rest.is_empty() {
                let bytes = dated.overlay(rest);
                let count = bytes.len().min(most);
                out.extend_from_slice(&bytes[..count]);
                dated.written(count);
                rest = &rest[count..];
            }
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn only_the_date_of_the_final_head_changes() {
        let interim = format!("HTTP/1.1 103 Early Hints\r\nDate: {NEW}\r\n\r\n");
        let head = |date| format!("HTTP/1.1 200 OK\r\nX-Date: {NEW}\r\nDate: {date}\r\nExpires: {NEW}\r\n\r\n");
        let body = format!("HTTP/1.1 200 OK\r\nDate: {NEW}\r\n\r\n");
        let pieces = [&interim, &head(NEW), &body];
        let pieces: Vec<&str> = pieces.iter().map(|piece| piece.as_str()).collect();
        for most in [1, 2, 7, 29, 30, 60, usize::MAX] {
            assert_eq!(written(dated(true), &pieces, most), [&*interim, &head(OLD), &body].concat(), "{most}");
            assert_eq!(written(dated(false), &pieces, most), pieces.concat(), "{most}");
        }
    }

    #[test]
    fn what_is_no_such_date_stays() {
        for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nDate: now\r\n\r\n", "HTTP/1.1 200 OK\r\nDate: "] {
            assert_eq!(written(dated(true), &[head, head], usize::MAX), head.repeat(2));
        }
    }
}
