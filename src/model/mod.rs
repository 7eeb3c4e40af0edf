//! The vocabulary that every other module speaks: hosts, phases, redirect statuses, where a line stands, verdicts.
//!
//! Owns: small value types whose construction proves their invariant (parse, don't validate).
//! Never does: I/O, parsing of files, matching. Depends on nothing else in the crate.

mod agent;
mod challenge;
mod country;
mod disposition;
mod host;
mod https;
mod methods;
mod phase;
mod reason;
mod rewriting;
mod status;
mod target;
mod verdict;

pub use agent::Agent;
pub use challenge::{CHALLENGE_PATH, challenge_token, is_challenge_token};
pub use country::{Country, CountryError};
pub use disposition::Disposition;
pub(crate) use host::has_trailing_dot;
pub use host::{Host, HostBuf, HostError, HostPattern};
pub use https::Https;
pub use methods::Methods;
pub use phase::{Lifecycle, Phase};
pub use reason::{Denial, Reason};
pub use rewriting::Rewriting;
pub use status::RedirectStatus;
pub use target::{MAX_TARGET_URL, Target, TargetFault};
pub(crate) use target::{escape_into, parse_authority, split_scheme};
pub use verdict::{Gone, Method, Outcome, Source, Verdict};
