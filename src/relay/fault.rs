//! What went wrong with a request that was relayed, and what is said of it.

use std::io::ErrorKind;

use pingora::{Error, ErrorSource, ErrorType};

use super::platforms;
use crate::answer::Refusal;
use crate::cache::Failure;
use crate::telemetry::PlatformError;

impl Failure {
    /// What kind of failure an error of a platform is.
    pub(super) fn of(error: &Error) -> Self {
        match platforms::classify(error) {
            PlatformError::Timeout => Failure::Late,
            PlatformError::Protocol | PlatformError::Reset => Failure::Malformed,
            _ => Failure::Unreachable,
        }
    }

    /// The status of the answer.
    pub(super) fn status(self) -> u16 {
        match self {
            Failure::Malformed => 502,
            Failure::Late => 504,
            Failure::Unreachable | Failure::Dropped => 503,
        }
    }
}

/// Whose fault it is that a request came to nothing.
pub(super) enum Fault {
    /// The client's, which is told so.
    Client(Refusal),
    /// The client is gone.
    Gone,
    /// The platform's, or ours: the status says more.
    Other(u16),
}

impl Fault {
    pub fn of(error: &Error) -> Self {
        match (error.etype(), error.esource()) {
            (ErrorType::HTTPStatus(status), _) => Fault::Other(*status),
            (ErrorType::InvalidHTTPHeader, ErrorSource::Downstream) => {
                Fault::Client(Refusal::bad("the head of the request is malformed"))
            }
            // What the door says of the body.
            (ErrorType::ReadError, ErrorSource::Downstream) if has_kind(error, ErrorKind::InvalidData) => {
                Fault::Client(Refusal::BODY_MALFORMED)
            }
            (ErrorType::ReadError, ErrorSource::Downstream) if has_kind(error, ErrorKind::TimedOut) => {
                Fault::Client(Refusal::BODY_TOO_SLOW)
            }
            (_, ErrorSource::Downstream) => Fault::Gone,
            (_, ErrorSource::Upstream) => Fault::Other(Failure::of(error).status()),
            _ => Fault::Other(500),
        }
    }

    /// 0 if there is nobody to be told.
    pub fn status(&self) -> u16 {
        match self {
            Fault::Client(refusal) => refusal.status,
            Fault::Gone => 0,
            Fault::Other(status) => *status,
        }
    }
}

/// Whether an error says that the client took nothing for too long: the door's word, or the system's.
pub(super) fn is_taken_too_slowly(error: &Error) -> bool {
    *error.esource() != ErrorSource::Upstream
        && match error.etype() {
            ErrorType::WriteTimedout => true,
            ErrorType::WriteError => has_kind(error, ErrorKind::TimedOut),
            _ => false,
        }
}

/// Whether an error comes from one of the connection, of this kind.
fn has_kind(error: &Error, kind: ErrorKind) -> bool {
    error.root_cause().downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == kind)
}
