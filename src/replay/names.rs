//! Which host a log is of, told by its name: `access_jyj.old.example.log.1.gz`.

use std::{collections::HashSet, path::Path};

use crate::model::{Host, HostPattern};
use crate::routing::Snapshot;

use super::{Input, Job};

/// The hosts of all sites.
#[derive(Debug)]
pub(super) struct Names<'a> {
    snapshot: &'a Snapshot,
    exact: HashSet<&'a str>,
}

impl<'a> Names<'a> {
    /// Those of a snapshot.
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let hosts = snapshot.sites().iter().flat_map(|site| &site.hosts);
        let exact = hosts.filter_map(|host| match host {
            HostPattern::Exact(host) => Some(host.as_str()),
            HostPattern::Below(_) => None,
        });
        Names { snapshot, exact: exact.collect() }
    }

    /// Whether a site has a host, as somebody spelled it.
    pub fn knows(&self, host: &[u8]) -> bool {
        Host::parse(host).is_ok_and(|host| self.snapshot.knows_host(&host))
    }

    /// The host of lines of a log that name none: the one that was given, or the longest in the log's name, or in the name of
    /// its folder.
    pub fn host_of(&self, job: &Job, input: &Input) -> Option<String> {
        if job.host.is_some() {
            return job.host.clone();
        }
        let Input::File(path) = input else { return None };
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().to_ascii_lowercase());
        let folder = path.parent().and_then(name);
        [name(path), folder].into_iter().flatten().find_map(|name| self.host_in(&name))
    }

    /// The longest host of a site in a text; one that a site names itself comes before one that is below a name.
    fn host_in(&self, text: &str) -> Option<String> {
        let text = &text[..text.floor_char_boundary(MAX_NAME)];
        let bytes = text.as_bytes();
        let is_inside = |at: usize| bytes.get(at).is_some_and(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii());
        let starts = (0..bytes.len()).filter(|&at| is_inside(at) && (at == 0 || !is_inside(at - 1)));
        let ends: Vec<usize> = (1..=bytes.len()).filter(|&at| is_inside(at - 1) && !is_inside(at)).collect();
        let mut parts: Vec<&str> = starts
            .flat_map(|start| ends.iter().filter(move |&&end| end > start).map(move |&end| (start, end)))
            .map(|(start, end)| &text[start..end])
            .filter(|part| part.contains('.'))
            .collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
        let exact = parts.iter().find(|part| self.exact.contains(**part));
        let found = exact.or_else(|| parts.iter().find(|part| is_name(part) && self.knows(part.as_bytes())));
        found.map(|part| (*part).to_owned())
    }
}

/// Whether a text may be a host to somebody who doesn't know it: `access_a.example.log` is none.
fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-'))
}

/// Longest name that is looked at, in bytes.
const MAX_NAME: usize = 255;
