//! `waypost routes`.

use std::{fmt::Write, process::ExitCode};

use anyhow::{Context, bail};
use serde::Deserialize;

use super::admin::client::{AdminArgs, Method, ask};
use super::output::{count, print};
use super::purge::escaped;
use super::{NodeArgs, RoutesArgs, load};

/// A rule or mapping, as the admin address tells of it.
#[derive(Deserialize)]
struct Counted {
    file: String,
    line: u32,
    route: String,
    hits: u64,
}

/// Asks the running gateway how often each rule and mapping of a site has answered.
pub(super) fn run(node: &NodeArgs, admin: &AdminArgs, args: &RoutesArgs) -> anyhow::Result<ExitCode> {
    let (gateway, _) = load::gateway(node)?;
    let answer = ask(&gateway, admin, Method::Get, &format!("/routes?site={}&json", escaped(&args.site)))?;
    if answer.status != 200 {
        bail!("{}", answer.text.trim());
    }
    if args.json && !args.unused {
        return print(&answer.text);
    }
    let mut all: Vec<Counted> = serde_json::from_str(&answer.text).context("this is no answer of a gateway")?;
    let unused = all.iter().filter(|counted| counted.hits == 0).count();
    if args.unused {
        all.retain(|counted| counted.hits == 0);
    } else {
        // Equal ones stay in the order of the files.
        all.sort_by_key(|counted| std::cmp::Reverse(counted.hits));
    }
    if args.json {
        let shown = all.iter().map(|Counted { file, line, route, hits }| {
            serde_json::json!({ "file": file, "line": line, "route": route, "hits": hits })
        });
        return print(&format!("{}\n", serde_json::to_string_pretty(&shown.collect::<Vec<_>>())?));
    }
    let mut out = String::new();
    for Counted { file, line, route, hits } in all.iter().take(args.top) {
        // Writing to a String can't fail.
        let _ = writeln!(out, "{hits:>10}  {file}:{line}  {route}");
    }
    if all.len() > args.top {
        let _ = writeln!(out, "            and {} more (--top)", all.len() - args.top);
    }
    let total = if args.unused { all.len() } else { unused };
    let _ = writeln!(out, "{} without a hit since the gateway started", count(total, "route"));
    print(&out)
}
