//! What traffic sees at one moment.

use std::{collections::HashMap, sync::Arc};

use arc_swap::ArcSwap;

use crate::routing::Snapshot;
use crate::telemetry::{Metrics, SiteCounters};

/// A snapshot and what belongs to it. A request takes one `Live` and keeps it, so it never sees half of a reload.
#[derive(Debug, Default)]
pub struct Live {
    /// The sites.
    pub snapshot: Arc<Snapshot>,
    /// The counters of each site, by its number in the snapshot.
    pub counters: Vec<Arc<SiteCounters>>,
}

/// Where the present [`Live`] is; reading takes no lock.
pub type LiveCell = ArcSwap<Live>;

impl Live {
    /// The state that follows on `self`. A site that was there before goes on counting; the series of one that is gone
    /// end with [`Live::retire_for`].
    pub fn next(&self, snapshot: Snapshot, metrics: &Metrics) -> Live {
        let known: HashMap<&str, &Arc<SiteCounters>> = self.by_site().collect();
        let counters = snapshot.sites().iter().map(|site| match known.get(site.id.as_str()) {
            Some(&counters) => counters.clone(),
            None => metrics.site(&site.id),
        });
        Live { counters: counters.collect(), snapshot: Arc::new(snapshot) }
    }

    /// Removes the series of sites that `next` doesn't have; to be called when `next` is live.
    pub fn retire_for(&self, next: &Live) {
        let kept: HashMap<&str, &Arc<SiteCounters>> = next.by_site().collect();
        self.by_site().filter(|(id, _)| !kept.contains_key(id)).for_each(|(_, counters)| counters.retire());
    }

    fn by_site(&self) -> impl Iterator<Item = (&str, &Arc<SiteCounters>)> {
        self.snapshot.sites().iter().map(|site| site.id.as_str()).zip(&self.counters)
    }
}
