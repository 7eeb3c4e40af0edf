//! Settings and routes for every command, loaded as `serve` loads them.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::NodeArgs;
use crate::config::{Diagnostic, Gateway};
use crate::routing::{LoadReport, Loader, Scratch, SiteTable, Snapshot};

/// Reads gateway.toml (or the defaults) and applies the command line.
pub(super) fn gateway(node: &NodeArgs) -> anyhow::Result<(Gateway, Vec<Diagnostic>)> {
    let path = node.config.clone().unwrap_or_else(|| PathBuf::from("gateway.toml"));
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        // Only a file that was asked for must be there.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && node.config.is_none() => String::new(),
        Err(error) => return Err(error).with_context(|| format!("can't read {}", path.display())),
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let (mut gateway, faults) = Gateway::parse(&path.to_string_lossy(), text, folder);
    gateway.file = Some(path.clone());
    if let Some(routes) = &node.routes {
        gateway.routes.clone_from(routes);
    }
    Ok((gateway, faults))
}

/// Routes as they stand, with what is wrong with them.
pub(super) struct Routes {
    pub loader: Loader,
    pub snapshot: Snapshot,
    pub report: LoadReport,
}

/// Loads the routes of a gateway as of `now`.
pub(super) fn routes(gateway: &Gateway, now: i64) -> anyhow::Result<Routes> {
    let mut loader = Loader::new(gateway);
    let (snapshot, report) = loader.load(now, super::output::progress()).context("can't read the routes")?;
    Ok(Routes { loader, snapshot, report })
}

/// The site of that id (`.toml` behind it is ignored), or that has that host.
pub(super) fn site<'a>(snapshot: &'a Snapshot, name: &str) -> anyhow::Result<&'a SiteTable> {
    let id = name.strip_suffix(".toml").unwrap_or(name);
    let host = || snapshot.sites().get(snapshot.site_of(name.as_bytes(), &mut Scratch::default())?);
    let site = snapshot.sites().iter().find(|site| site.id == id).or_else(host);
    site.map(|site| &**site).with_context(|| format!("`{name}` is no site and no host of one"))
}

/// The present moment in Unix seconds.
pub(super) fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
