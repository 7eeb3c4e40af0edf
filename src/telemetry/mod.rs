//! What the gateway tells about itself in numbers.
//!
//! Owns: the names of every metric and label ([`names`]), the registry, and the handles that requests count with; the access
//! log ([`access_log`]).
//! Never does: HTTP (`admin` shows the registry), or anything for a log or a database on a thread that answers.
//!
//! Invariants: counting a request takes no lock, allocates nothing and formats no label, except for the first request
//! of its kind on its site; every label is an enum, the id of a site, a platform, an origin or a name in a certificate file, so the number of
//! series is bounded by what operators wrote; the series of a removed site, origin or certificate are removed.
//!
//! Called by: `answer` for each request, `door` for each connection, `relay` for each request to a platform, `reload` for each reload.

pub mod access_log;
mod certificates;
mod connections;
mod exchange;
mod journal;
mod metrics;
pub mod names;
mod pipeline;
mod platforms;

pub use certificates::{CertificateGauges, MAX_EXPIRIES};
pub use connections::{Connections, HandshakeFailure, Lane, Limit, Refused};
pub use exchange::{Exchange, Protocol};
pub use journal::Journal;
pub use metrics::{Metrics, ReloadResult, SiteCounters, WafAction};
pub use pipeline::{Consumer, Pipeline};
pub use platforms::{PlatformError, PlatformFamilies, PlatformMetrics, PlatformOutcome};
