//! Text → checked model, with positions.
//!
//! Two stages: `reader` turns TOML into a tree of typed values by the tables of [`keys`] and reports every unknown
//! key and wrong type; [`site`] and [`gateway`] turn the tree into domain types and report every fault of meaning. No
//! raw value leaves this module. Mapping tables are read row by row by [`mapping`].
//!
//! Owns: the file formats, their diagnostics and their JSON Schema. Never does: matching, network, or anything that
//! needs more than one site (the policy of targets, chains, shadowing: see `routing`).

pub mod expectation;
pub mod gateway;
pub mod keys;
pub mod mapping;
pub mod pattern;
pub mod schema;
pub mod site;
pub mod template;

mod diagnostic;
mod guard;
mod habits;
mod limits;
mod listen;
mod origin;
mod origin_tls;
mod platform;
mod probe;
mod protection;
mod reader;
mod records;
mod rule;
mod serving;
mod syntax;

pub use diagnostic::{Diagnostic, Severity, SourceFile, readable_host, suggestion};
pub use gateway::{CacheSize, Gateway, Process, TlsMode, TlsPolicy, TlsSettings};
pub use guard::{GuardSettings, Strictness};
pub use limits::Limits;
pub use listen::{Address, Listen, ListenError};
pub use origin::{Origin, OriginError, OriginPlace};
pub use origin_tls::{Certificates, Identity, OriginTls};
pub use platform::{Balance, HealthCheck, Platform};
pub use probe::{ProbeFault, ProbePattern};
pub use protection::{Frames, Protection};
pub use reader::{Role, Table, parse_date};
pub use rule::{Action, Fallback, Links, Rule};
pub use serving::{CacheRules, Serving};
pub use site::{Layer, Place, Site};
