//! One integration binary, one file per topic.
#![allow(clippy::unwrap_used, reason = "a test that panics says why")]

mod admin;
mod answers;
mod browser;
mod cached;
mod check;
mod cli;
mod client;
mod connections;
mod counts;
mod guard;
mod hits;
mod http1;
mod http2;
mod http2_answers;
mod https;
mod lanes;
mod large;
mod layers;
mod limits;
mod load;
mod logs;
mod misbehaving;
mod oracle;
mod outage;
mod pages;
mod payloads;
mod platform;
mod platforms;
mod process;
mod program;
mod relay;
mod schema;
mod serve;
mod tls_files;
mod url;
