//! What traffic sees at one moment.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::cache::Rules;
use crate::config::{self, GuardSettings};
use crate::guard::{Policy, waf::Mode};
use crate::rewrite::HeaderRules;
use crate::routing::{SiteTable, Snapshot};
use crate::telemetry::{RouteCounters, SiteCounters};

/// A snapshot and what belongs to it. A request takes one `Live` and keeps it, so it never sees half of a reload.
#[derive(Debug, Default)]
pub struct Live {
    /// The sites.
    pub snapshot: Arc<Snapshot>,
    /// The counters of each site, by its number in the snapshot.
    pub counters: Vec<Arc<SiteCounters>>,
    /// What is counted of each site's mappings and rules, by its number.
    pub routes: Vec<Arc<RouteCounters>>,
    /// How each site's answers from elsewhere are served, by its number.
    pub serving: Vec<Arc<Serving>>,
    /// What each site admits, by its number; sites that say the same share it.
    pub policies: Vec<Arc<Policy>>,
    /// What is admitted of hosts that no site has.
    pub policy: Arc<Policy>,
}

/// How answers that come from elsewhere are served: what a site says of it, ready for use.
#[derive(Debug, Default)]
pub struct Serving {
    /// How they are cached.
    pub cache: Arc<Rules>,
    /// What changes in their header fields.
    pub headers: HeaderRules,
    /// How long a client waits for a fresh one where a stale one would do.
    pub patience: Duration,
    /// The site's own page for when there is none.
    pub stand_by: Option<Bytes>,
}

impl Serving {
    fn new(settings: &config::Serving) -> Self {
        let rules = &settings.cache;
        let cache = Rules {
            enabled: rules.enabled,
            default_ttl: rules.default_ttl,
            min_ttl: rules.min_ttl,
            max_ttl: rules.max_ttl,
            heuristic: rules.heuristic,
            stale_while_revalidate: rules.stale_while_revalidate,
            stale_if_error: rules.stale_if_error,
            stale_if_down: rules.stale_if_down,
            down_overrides: rules.down_overrides,
            negative: rules.negative.clone(),
            object_bytes: rules.object_bytes,
            vary_ignore: rules.vary_ignore.clone(),
            client_directives: rules.client_directives,
            private_cookies: rules.private_cookies.clone(),
        };
        let text = |fields: &[(HeaderName, HeaderValue)]| -> Vec<(String, String)> {
            let text = |(name, value): &(HeaderName, HeaderValue)| {
                (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            };
            fields.iter().map(text).collect()
        };
        let remove: Vec<String> = settings.remove.iter().map(HeaderName::to_string).collect();
        // What can't stand was reported when the files were read.
        let headers = HeaderRules::new(text(&settings.set), text(&settings.add), remove).unwrap_or_default();
        Serving {
            cache: Arc::new(cache),
            headers,
            patience: Duration::from_millis(rules.patience.into()),
            stand_by: settings.stand_by.clone().map(Bytes::from),
        }
    }
}

/// Where the present [`Live`] is; reading takes no lock.
pub type LiveCell = ArcSwap<Live>;

impl Live {
    /// The state that follows on `self`. A site that was there before goes on counting.
    pub fn next(&self, snapshot: Snapshot) -> Live {
        let known: HashMap<&str, usize> =
            self.snapshot.sites().iter().enumerate().map(|(number, site)| (site.id.as_str(), number)).collect();
        let before = |site: &SiteTable| known.get(site.id.as_str()).copied();
        let counters = snapshot.sites().iter().map(|site| match before(site) {
            Some(number) => self.counters[number].clone(),
            None => Arc::default(),
        });
        let routes = snapshot.sites().iter().map(|site| match before(site).map(|number| &self.routes[number]) {
            Some(routes) if routes.is_of(site) => routes.clone(),
            routes => Arc::new(RouteCounters::new(site, routes.map(|routes| &**routes))),
        });
        let shared: HashMap<*const config::Serving, &Arc<Serving>> =
            self.snapshot.sites().iter().map(|site| Arc::as_ptr(&site.serving)).zip(&self.serving).collect();
        let serving = snapshot.sites().iter().map(|site| match shared.get(&Arc::as_ptr(&site.serving)) {
            Some(&serving) => serving.clone(),
            None => Arc::new(Serving::new(&site.serving)),
        });
        let serving = serving.collect();
        #[expect(clippy::mutable_key_type, reason = "files of rules are told apart by where they are, which stays")]
        let mut policies: HashMap<&GuardSettings, Arc<Policy>> = HashMap::new();
        let mut policy_of = |settings| {
            let policy = policies
                .entry(settings)
                .or_insert_with(|| Arc::new(Policy::new(settings, snapshot.guard(), snapshot.sources())));
            policy.clone()
        };
        let by_site = snapshot.sites().iter().map(|site| policy_of(&site.guard)).collect();
        let policy = Arc::new(Policy::new(&GuardSettings::default(), snapshot.guard(), snapshot.sources()));
        let (counters, routes) = (counters.collect(), routes.collect());
        Live { counters, routes, serving, policies: by_site, policy, snapshot: Arc::new(snapshot) }
    }

    /// Whether some site lets the firewall's rules run.
    pub fn wants_waf(&self) -> bool {
        self.policies.iter().any(|policy| policy.waf.mode != Mode::Off)
    }

    /// How what comes from elsewhere is served for a site, by its number.
    pub(super) fn serving_of(&self, site: Option<usize>) -> &Serving {
        static NONE: LazyLock<Serving> = LazyLock::new(Serving::default);
        site.and_then(|site| self.serving.get(site)).map_or(&*NONE, |serving| &**serving)
    }
}
