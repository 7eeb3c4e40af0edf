//! One integration binary, one file per topic.
#![allow(clippy::unwrap_used, reason = "a test that panics says why")]

mod answers;
mod check;
mod cli;
mod client;
mod https;
mod http1;
mod http2;
mod lanes;
mod layers;
mod oracle;
mod pages;
mod process;
mod payloads;
mod schema;
mod serve;
mod tls_files;
mod url;
