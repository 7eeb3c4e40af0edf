//! Text → checked model, with positions.
//!
//! Two stages: `reader` turns TOML into a tree of typed values by the tables of [`keys`] and reports every unknown
//! key and wrong type; [`site`] and [`gateway`] turn the tree into domain types and report every fault of meaning. No
//! raw value leaves this module. Mapping tables are read row by row by [`mapping`].
//!
//! Owns: the file formats, their diagnostics and their JSON Schema. Never does: matching, network, or anything that
//! needs more than one site (the policy of targets, chains, shadowing: see `routing`).

pub mod admin;
pub mod condition;
pub mod expectation;
pub mod gateway;
pub mod keys;
pub mod mapping;
pub mod pattern;
pub mod schema;
pub mod site;
pub mod template;

mod acme;
mod crawler;
mod diagnostic;
mod guard;
mod habits;
mod hits;
mod limits;
mod listen;
mod log;
mod monitor;
mod network;
mod origin;
mod origin_tls;
mod pack_rule;
mod platform;
mod probe;
mod protection;
mod rate;
mod reach;
mod reader;
mod records;
mod request_rule;
mod rule;
mod serving;
mod stamp;
mod syntax;
mod traces;
mod verify;
mod waf;

pub use acme::{AcmeLimits, AcmeSettings, Challenge};
pub use admin::AdminSettings;
pub use crawler::{CRAWLER, CrawlerSettings, known_crawlers};
pub use diagnostic::{Diagnostic, Severity, SourceFile, readable_host, suggestion};
pub use gateway::{CacheSize, Gateway, Process, TlsMode, TlsPolicy, TlsSettings};
pub use guard::{GuardSettings, ListFile, Strictness};
pub use hits::{HitsDatabase, HitsSettings};
pub use limits::Limits;
pub use listen::{Address, Listen, ListenError};
pub use log::{AccessLogSettings, ClientShown, LogFormat};
pub use monitor::MonitorSettings;
pub(crate) use network::{Network, NetworkError};
pub use origin::{Origin, OriginError, OriginPlace};
pub use origin_tls::{Certificates, Identity, OriginTls};
pub use platform::{Balance, HealthCheck, Platform};
pub use probe::{ProbeFault, ProbePattern};
pub use protection::{Frames, Protection};
pub use rate::{RatePer, RateSettings};
pub use reader::{Role, Table, parse_date};
pub use request_rule::{REQUEST_RULE, RequestAction, RequestRule, RequestRules};
pub use rule::{Action, Fallback, Links, Rule};
pub use serving::{CacheRules, Serving};
pub use site::{CensusRow, Layer, Place, Site};
pub(crate) use stamp::Stamp;
pub use traces::TraceSettings;
pub use verify::VerifySettings;
pub use waf::{AtBound, BadExclusion, Exclusion, Mode, WafBounds, WafSettings};
