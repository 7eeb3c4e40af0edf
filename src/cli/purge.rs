//! `waypost purge`.

use std::process::ExitCode;

use anyhow::bail;

use super::admin::client::{AdminArgs, Method, ask};
use super::output::print;
use super::{NodeArgs, PurgeArgs, load};

/// Has the running gateway forget cached answers.
pub(super) fn run(node: &NodeArgs, admin: &AdminArgs, what: &PurgeArgs) -> anyhow::Result<ExitCode> {
    let (gateway, _) = load::gateway(node)?;
    let query = match (&what.url, &what.host, &what.tag) {
        (Some(url), _, _) => format!("url={}", escaped(url)),
        (_, Some(host), _) => format!("host={}", escaped(host)),
        (_, _, Some(tag)) => format!("tag={}", escaped(tag)),
        _ => "all".to_owned(),
    };
    let answer = ask(&gateway, admin, Method::Post, &format!("/purge?{query}"))?;
    if answer.status != 200 {
        bail!("not purged: {}", answer.text.trim());
    }
    print(&answer.text)
}

/// A text as a part of a query.
pub(super) fn escaped(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:".contains(&byte);
    text.bytes()
        .map(|byte| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}
