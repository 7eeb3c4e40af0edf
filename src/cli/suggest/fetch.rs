//! Sitemaps, from files and from servers.

use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use ureq::{Agent, tls::TlsConfig};

use crate::model::Target;
use crate::suggest::Page;
use crate::suggest::sources::{MOST_BYTES, Sitemap, sitemap};

/// All pages of a sitemap and of those that it names. What can't be had of the latter is told in `notes`.
pub(super) fn pages(place: &str, notes: &mut Vec<String>) -> anyhow::Result<Vec<Page>> {
    let mut pages = Vec::new();
    let mut seen = BTreeSet::from([place.to_owned()]);
    let mut todo = VecDeque::from([place.to_owned()]);
    let mut is_first = true;
    while let Some(place) = todo.pop_front() {
        let Sitemap { pages: found, maps } = match read(&place) {
            Ok(map) => map,
            Err(error) if is_first => return Err(error),
            Err(error) => {
                notes.push(format!("{error:#}"));
                continue;
            }
        };
        is_first = false;
        pages.extend(found);
        if pages.len() > MOST_PAGES {
            notes.push(format!("{place}: only the first {MOST_PAGES} pages are looked at"));
            pages.truncate(MOST_PAGES);
            return Ok(pages);
        }
        for map in maps {
            match beside(&place, &map) {
                Ok(map) if seen.len() < MOST_MAPS => {
                    if seen.insert(map.clone()) {
                        todo.push_back(map);
                    }
                }
                Ok(_) => bail!("{place}: it names more than {MOST_MAPS} sitemaps"),
                Err(note) => notes.push(note),
            }
        }
    }
    Ok(pages)
}

/// Where a sitemap that another one names is: on the same server, or as a file of that name in the same folder.
fn beside(index: &str, map: &str) -> Result<String, String> {
    let Ok(target) = Target::parse(map) else { return Err(format!("{index}: `{map}` is no URL")) };
    match Target::parse(index) {
        Ok(from) if from.host() == target.host() => Ok(target.as_str().to_owned()),
        Ok(from) => Err(format!("{index}: {map} is left out, which is not on {}", from.host())),
        Err(_) => {
            let name = map.split(['?', '#']).next().unwrap_or(map).rsplit('/').next().unwrap_or_default();
            let path = Path::new(index).with_file_name(if name.is_empty() { "sitemap.xml" } else { name });
            if path.is_file() {
                return Ok(path.to_string_lossy().into_owned());
            }
            Err(format!(
                "{index} names {map}, and there is no {}: get it, or give the URL to --sitemap",
                path.display()
            ))
        }
    }
}

fn read(place: &str) -> anyhow::Result<Sitemap> {
    let bytes = match Target::parse(place) {
        Ok(target) => get(target.as_str())?,
        Err(_) => bytes(Path::new(place))?,
    };
    sitemap(&bytes).with_context(|| place.to_owned())
}

/// A file, if it is not too large to be one of those that are read here.
pub(super) fn bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    let can_not = || format!("can't read {}", path.display());
    let size = fs::metadata(path).with_context(can_not)?.len();
    if size > MOST_BYTES as u64 {
        bail!("{}: it is larger than {} MiB", path.display(), MOST_BYTES >> 20);
    }
    fs::read(path).with_context(can_not)
}

fn get(url: &str) -> anyhow::Result<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder().unversioned_rustls_crypto_provider(provider).build();
    let agent: Agent = Agent::config_builder()
        .tls_config(tls)
        .timeout_global(Some(TIME))
        .max_redirects(3)
        .user_agent("waypost suggest")
        .build()
        .into();
    let mut answer = agent.get(url).call().with_context(|| format!("can't get {url}"))?;
    let body = answer.body_mut().with_config().limit(MOST_BYTES as u64).read_to_vec();
    body.with_context(|| format!("can't get {url}"))
}

/// Of all sitemaps together.
const MOST_PAGES: usize = 2_000_000;
const MOST_MAPS: usize = 2000;
/// How long a sitemap may take.
const TIME: Duration = Duration::from_secs(120);
