//! Waypost keeps a government's retired web addresses alive: a gateway that fronts the old domains and sends each old
//! URL to its new home.
//!
//! The way of a request: [`door`] (connections) → [`guard`] (who and what is admitted) → [`routing`] (the decision, a pure function over a snapshot built from
//! the files that [`config`] reads) → [`answer`] (what goes over the wire, with the [`pages`] that citizens see).
//! [`tls`] holds the certificates, [`acme`] gets them, [`reload`] swaps snapshots, [`telemetry`] counts, [`monitor`] and [`admin`] tell, [`server`] puts it all together,
//! [`cli`] is the program.
#![forbid(unsafe_code)]

pub mod acme;
pub mod admin;
pub mod answer;
pub mod cache;
pub mod census;
pub mod cli;
pub mod config;
pub mod dashboards;
pub mod door;
pub mod edits;
pub mod export;
pub mod guard;
pub mod hits;
pub mod model;
pub mod monitor;
pub mod packs;
pub mod pages;
pub mod relay;
pub mod reload;
pub mod replay;
pub mod report;
pub mod retire;
pub mod rewrite;
pub mod robot;
pub mod routing;
pub mod server;
pub mod suggest;
pub mod telemetry;
pub mod tls;
pub mod url;
pub mod verify;
pub mod waves;
