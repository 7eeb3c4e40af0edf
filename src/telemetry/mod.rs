//! What the gateway tells about itself in numbers.
//!
//! Owns: the names of every metric and label ([`names`]), the registry, and the handles that requests count with; the access
//! log ([`access_log`]); to which trace a request belongs, and who is sent that.
//! Never does: HTTP (`admin` shows the registry), or anything for a log or a database on a thread that answers.
//!
//! Invariants: counting a request takes no lock, allocates nothing and formats no label; every label is an enum, or comes from what
//! operators wrote: a site, its owner, a platform, an origin, a rule, a name in a certificate file; the series of what is removed are
//! removed. Those who want to know of each request ([`Exchange`]) are told on a thread of their own ([`Pipeline`]).
//!
//! Called by: `answer` for each request, `door` for each connection, `relay` for each request to a platform, `reload` for each reload.

pub mod access_log;
mod certificates;
mod connections;
mod exchange;
mod families;
mod journal;
mod latencies;
mod loops;
mod metrics;
pub mod names;
mod otlp;
mod pipeline;
mod platforms;
mod routes;
mod sites;
mod trace;

pub use certificates::{CertificateGauges, MAX_EXPIRIES};
pub use connections::{Connections, HandshakeFailure, Lane, Limit, Refused};
pub use exchange::{Exchange, Protocol};
pub use families::Reading;
pub use journal::Journal;
pub use loops::{LoopDetector, LoopsSeen};
pub use metrics::{Metrics, ReloadResult, WafAction};
pub use otlp::{TraceExport, TraceStats};
pub use pipeline::{Consumer, Pipeline};
pub use platforms::{PlatformError, PlatformFamilies, PlatformMetrics, PlatformOutcome};
pub use routes::{RouteCount, RouteCounters};
pub use sites::SiteCounters;
pub use trace::{TraceContext, Tracer};
