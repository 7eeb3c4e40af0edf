//! What the gateway tells about itself in numbers.
//!
//! Owns: the names of every metric and label ([`names`]), the registry, and the handles that requests count with.
//! Never does: HTTP (`admin` shows the registry) or logging.
//!
//! Invariants: counting a request takes no lock, allocates nothing and formats no label, except for the first request
//! of its kind on its site; every label but the site's id is an enum, so the number of series is bounded by the number
//! of sites; the series of a removed site are removed.
//!
//! Called by: `door` for each request, `reload` for each reload.

mod certificates;
mod connections;
mod journal;
mod metrics;
pub mod names;

pub use certificates::CertificateGauges;
pub use connections::{Connections, HandshakeFailure, Lane, Limit, Refused};
pub use journal::Journal;
pub use metrics::{Metrics, ReloadResult, SiteCounters};
