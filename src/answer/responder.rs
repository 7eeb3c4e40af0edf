//! From a request to its answer: the one way that every lane takes.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{
    Answer, Clock, Facts, Live, LiveCell, Place, Refusal, Serving, answer, challenge, refused, sitemap,
    told::{Sent, Stored, Subject},
    unavailable,
};
use crate::config::{Gateway, Origin};
use crate::guard::{Crawlers, Fields, Guard, Notes, Occupied, Policy, Ruling, View};
use crate::model::{Method, Reason, Rewriting, Verdict};
use crate::routing::{Decision, Request, Scratch, SiteTable};
use crate::telemetry::{Lane, Metrics, Pipeline, SiteCounters, WafAction};
use crate::tls::Challenges;

/// What every answer is made from.
#[derive(Debug)]
pub struct Responder {
    live: Arc<LiveCell>,
    metrics: Arc<Metrics>,
    pipeline: Arc<Pipeline>,
    clock: Arc<Clock>,
    cache_control: String,
    challenges: Arc<Challenges>,
    guard: Arc<Guard>,
    /// Platforms that have origins: what they serve is no answer of ours.
    served: BTreeSet<String>,
    /// Large answers that may be made at the same time.
    making: Semaphore,
    /// Kilobytes of them that may be in memory until their clients have them.
    room: Arc<Semaphore>,
}

/// What came of a request.
#[derive(Debug)]
pub enum Step<R> {
    /// It was decided, counted and handed to the writer.
    Answered(R),
    /// A platform has the answer. Not counted yet.
    Relay(Relayed),
    /// A large sitemap, to be made where it holds up nobody ([`Responder::respond_at_length`]). Not counted yet.
    Large,
}

/// What is to be written.
#[derive(Debug)]
pub enum Reply<'a, S> {
    /// An answer of the gateway's.
    Made(&'a Answer<'a>),
    /// An answer of a platform that the cache has.
    Stored(S),
}

/// What is to be asked of a platform.
#[derive(Clone, Debug)]
pub struct Relayed {
    /// Its name in gateway.toml, or a site's own origin.
    pub platform: String,
    /// Path and query.
    pub path: String,
    /// How links in the answer are rewritten, if they are.
    pub rewriting: Option<Rewriting>,
    live: Arc<Live>,
    subject: Arc<Subject<'static>>,
}

impl Relayed {
    /// The site that the request is for.
    pub fn site(&self) -> Option<&SiteTable> {
        self.live.snapshot.sites().get(self.subject.site?).map(|site| &**site)
    }

    /// Whether its platform, whose own host is `own`, may send visitors of `asked` to `host` (both in canonical spelling).
    pub fn may_send_to(&self, host: &str, asked: &str, own: Option<&str>) -> bool {
        let snapshot = &self.live.snapshot;
        !snapshot.frozen().contains(host)
            && (self.policy().any_redirect()
                || is_of_domain(host, asked)
                || own.is_some_and(|own| is_of_domain(host, own))
                || snapshot.allows(self.site(), host))
    }

    /// Counts that it would have sent somebody to where it may not.
    pub fn count_refused_target(&self) {
        if let Some(counters) = self.subject.site.and_then(|site| self.live.counters.get(site)) {
            counters.deny(Reason::Target);
        }
    }

    /// What the site admits.
    pub fn policy(&self) -> &Policy {
        self.subject.site.and_then(|site| self.live.policies.get(site)).unwrap_or(&self.live.policy)
    }

    /// How its answers are served.
    pub fn serving(&self) -> &Serving {
        self.live.serving_of(self.subject.site)
    }
}

/// Whether `host` is `of`, or stands beside it below the same name: `sso.example.org` for `www.example.org`. Only a `www` is
/// known to be no name of its own: below what another host's parent is, there may be anybody.
fn is_of_domain(host: &str, of: &str) -> bool {
    let domain = of.strip_prefix("www.").filter(|domain| domain.contains('.')).unwrap_or(of);
    let is_name = domain.bytes().any(|byte| byte.is_ascii_alphabetic());
    host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || is_name && rest.ends_with('.'))
}

/// What a large answer takes of what there is, until it is sent.
#[derive(Debug)]
pub struct Held {
    /// Of the memory.
    _room: OwnedSemaphorePermit,
    /// Of what its client may ask for at once.
    _occupied: Option<Occupied>,
}

thread_local! {
    /// Between two requests a thread has no use for it, so one for all its connections is enough.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl Responder {
    /// Answers from whatever is in `live`, and authorities as `challenges` says; tells `pipeline` of each answer.
    pub fn new(
        gateway: &Gateway,
        live: Arc<LiveCell>,
        metrics: Arc<Metrics>,
        pipeline: Arc<Pipeline>,
        clock: Arc<Clock>,
        challenges: Arc<Challenges>,
    ) -> Self {
        let served = gateway.platforms.iter().filter(|(_, platform)| !platform.origins.is_empty());
        Responder {
            live,
            metrics,
            pipeline,
            clock,
            cache_control: gateway.cache_control.clone(),
            challenges,
            guard: Arc::new(Guard::new(gateway.rate_entries, Crawlers::new(&gateway.crawler_dns), Instant::now())),
            served: served.map(|(name, _)| name.clone()).collect(),
            making: Semaphore::new(MADE_AT_ONCE),
            room: Arc::new(Semaphore::new(ROOM)),
        }
    }

    /// The time that answers are decided at.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Where answers are counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What admits requests.
    pub fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// Asks the guard whether a request with these fields is admitted: once, before anything else is done with it. A request
    /// that is not comes back refused.
    pub fn admit<'a>(&self, mut facts: Facts<'a>, fields: &dyn Fields) -> Facts<'a> {
        let live = self.live.load();
        if facts.refused.is_some() || live.snapshot.is_health(&facts.target) {
            return facts;
        }
        let (number, policy) = policy(&live, &facts);
        let table = number.and_then(|number| live.snapshot.sites().get(number));
        if live.snapshot.challenge(table.map(|table| &**table), facts.method, &facts.target).is_some() {
            return facts;
        }
        let Facts { target, secure, client, is_many, .. } = &facts;
        let view = View {
            site: table.map_or("", |table| &table.id),
            method: &facts.method_name,
            host: facts.host.as_deref(),
            target,
            secure: *secure,
            client: *client,
            is_many: *is_many,
            fields,
            habits: table.map(|table| table.canonicalizer.settings()),
            is_mapped: &|| table.is_some_and(|table| table.has_mapping(target)),
        };
        let mut notes = Notes::default();
        let ruling = self.guard.admit(policy, &view, facts.since, &mut notes, &mut ());
        self.note(&live, number, &view, &notes);
        facts.tags = notes.tags;
        match ruling {
            Ruling::Admit => facts,
            Ruling::Refuse(denial) => {
                self.counters(&live, number).deny(denial.reason);
                facts.refuse(Refusal::denied(denial))
            }
            Ruling::Redirect { location, status } => {
                let refusal = Refusal::new(status, "a rule of the operators sends this request elsewhere");
                Facts { location: Some(location), ..facts.refuse(refusal) }
            }
        }
    }

    /// Counts and tells what the guard noted.
    fn note(&self, live: &Live, site: Option<usize>, view: &View<'_>, notes: &Notes) {
        notes.shadowed.iter().for_each(|&reason| self.counters(live, site).shadow(reason));
        for holding in &notes.rules {
            self.metrics.rule(&holding.rule, holding.action, holding.shadow);
            if holding.action == "log" && !holding.shadow {
                log::info!(target: "waypost::guard", "rule {}: {}", holding.rule, told(view, &notes.tags));
            }
        }
    }

    /// Counts a request that takes its time as one of its client's, until what is returned is dropped.
    ///
    /// # Errors
    /// If its client has as many as it may.
    pub fn occupy(&self, facts: &Facts<'_>) -> Result<Option<Occupied>, Refusal> {
        let live = self.live.load();
        let (number, policy) = policy(&live, facts);
        self.guard.occupy(policy, facts.client.filter(|_| !facts.is_many)).map_err(|denial| {
            self.counters(&live, number).deny(denial.reason);
            Refusal::denied(denial)
        })
    }

    /// Decides, counts, and hands the answer to `write`. Never waits.
    pub fn respond<R>(&self, facts: &Facts<'_>, lane: Lane, write: impl FnOnce(&Answer<'_>) -> R) -> Step<R> {
        let stored = |_: &Serving| None::<Infallible>;
        self.respond_with(facts, lane, stored, |reply| match reply {
            Reply::Made(answer) => write(answer),
            Reply::Stored(never) => match never {},
        })
    }

    /// As [`Responder::respond`], and asks `stored` first whether the cache has what is a platform's to answer.
    pub fn respond_with<S: Stored, R>(
        &self,
        facts: &Facts<'_>,
        lane: Lane,
        stored: impl FnOnce(&Serving) -> Option<S>,
        write: impl FnOnce(Reply<'_, S>) -> R,
    ) -> Step<R> {
        if let Some(refusal) = facts.refused {
            return Step::Answered(self.refuse(facts, refusal, lane, |answer| write(Reply::Made(answer))));
        }
        let live = self.live.load();
        SCRATCH.with_borrow_mut(|scratch| {
            let request = facts.request();
            let decision = live.snapshot.decide(&request, self.clock.now(), scratch);
            if let Verdict::Serve { .. } = decision.verdict
                && let Some(stored) = stored(live.serving_of(decision.site.map(|(number, _)| number)))
            {
                self.count(&live, &Subject::of(&decision), facts, lane, stored.sent());
                return Step::Answered(write(Reply::Stored(stored)));
            }
            if let Some(elsewhere) = self.elsewhere(&live, &decision) {
                return elsewhere;
            }
            let languages = facts.accept_language.as_deref();
            let answer = self.answer(&decision, &request, languages);
            let written = write(Reply::Made(&answer));
            self.count(&live, &Subject::of(&decision), facts, lane, Sent::of(&answer, facts));
            Step::Answered(written)
        })
    }

    /// What [`Responder::respond`] would come to, without answering or counting.
    pub fn decide(&self, facts: &Facts<'_>) -> Step<()> {
        if facts.refused.is_some() {
            return Step::Answered(());
        }
        let live = self.live.load();
        SCRATCH.with_borrow_mut(|scratch| {
            let decision = live.snapshot.decide(&facts.request(), self.clock.now(), scratch);
            self.elsewhere(&live, &decision).unwrap_or(Step::Answered(()))
        })
    }

    /// As [`Responder::respond`] for what was [`Step::Large`]: on a thread where nobody waits for it, a few at a time. The
    /// answer's share of what there is for such comes with it; it is to be dropped when the answer is sent.
    /// [`Refusal::BUSY`] if clients that are slow to take theirs leave no room for more.
    pub async fn respond_at_length<R: Send + 'static>(
        self: &Arc<Self>,
        facts: Facts<'static>,
        lane: Lane,
        write: impl Fn(&Answer<'_>) -> R + Clone + Send + 'static,
    ) -> (R, Option<Held>) {
        let occupied = match self.occupy(&facts) {
            Ok(occupied) => occupied,
            Err(refusal) => return (self.refuse(&facts, refusal, lane, write), None),
        };
        match self.make(facts.clone(), write.clone()).await {
            Some((made, status, length, room)) => {
                let live = self.live.load();
                SCRATCH.with_borrow_mut(|scratch| {
                    let decision = live.snapshot.decide(&facts.request(), self.clock.now(), scratch);
                    let bytes = if facts.method == Method::Head { 0 } else { length as u64 };
                    let sent = Sent { status, bytes, ..Sent::default() };
                    self.count(&live, &Subject::of(&decision), &facts, lane, sent);
                });
                (made, Some(Held { _room: room, _occupied: occupied }))
            }
            None => (self.refuse(&facts, Refusal::BUSY, lane, write), None),
        }
    }

    async fn make<R: Send + 'static>(
        self: &Arc<Self>,
        facts: Facts<'static>,
        write: impl FnOnce(&Answer<'_>) -> R + Send + 'static,
    ) -> Option<(R, u16, usize, OwnedSemaphorePermit)> {
        // Kept until there is room, so that no more than those few wait with an answer in memory.
        let _turn = timeout(PATIENCE, self.making.acquire()).await.ok()?.ok()?;
        let responder = self.clone();
        let made = tokio::task::spawn_blocking(move || {
            SCRATCH.with_borrow_mut(|scratch| {
                let live = responder.live.load();
                let request = facts.request();
                let decision = live.snapshot.decide(&request, responder.clock.now(), scratch);
                let languages = facts.accept_language.as_deref();
                let answer = responder.answer(&decision, &request, languages);
                (answer.status, answer.body.len(), write(&answer))
            })
        });
        let (status, length, made) = made.await.ok()?;
        let kilobytes = u32::try_from((length / 1024).min(ROOM)).unwrap_or(u32::MAX);
        let room = timeout(PATIENCE, self.room.clone().acquire_many_owned(kilobytes)).await.ok()?.ok()?;
        Some((made, status, length, room))
    }

    fn answer<'a>(&'a self, decision: &Decision<'a>, request: &Request<'_>, languages: Option<&str>) -> Answer<'a> {
        match decision.verdict {
            Verdict::Challenge { token } => challenge(self.challenges.key_authorization(token)),
            _ => answer(decision, request, languages, &self.cache_control),
        }
    }

    /// The answer to a request that is refused without asking the routes; it is counted.
    pub fn refuse<R>(
        &self,
        facts: &Facts<'_>,
        mut refusal: Refusal,
        lane: Lane,
        write: impl FnOnce(&Answer<'_>) -> R,
    ) -> R {
        if let Some(limit) = refusal.limit {
            self.metrics.connections().limit(limit);
        }
        let live = self.live.load();
        let mut decision = live.snapshot.undecided(Verdict::BadRequest(refusal.reason));
        if let Some(location) = &facts.location {
            decision.verdict = live.snapshot.unless_frozen(Verdict::Redirect { status: refusal.status, location });
            refusal.status = decision.verdict.status();
        }
        if let Some(denial) = refusal.denial {
            decision.verdict = Verdict::Denied(denial);
        }
        if refusal.denial.is_some() || facts.location.is_some() {
            let host = facts.host.as_deref().unwrap_or_default();
            let number = SCRATCH.with_borrow_mut(|scratch| live.snapshot.site_of(host, scratch));
            decision.site = number.and_then(|number| Some((number, live.snapshot.sites().get(number)?)));
        }
        let request = facts.request();
        let answer = refused(refusal, &decision, &request, facts.accept_language.as_deref());
        let written = write(&answer);
        self.count(&live, &Subject::of(&decision), facts, lane, Sent::of(&answer, facts));
        written
    }

    /// The answer to a request whose platform gives none: the site's stand-by page, or ours. `retry_after` is in seconds.
    pub fn stand_in<R>(
        &self,
        facts: &Facts<'_>,
        relayed: &Relayed,
        status: u16,
        retry_after: Option<u64>,
        write: impl FnOnce(&Answer<'_>) -> R,
    ) -> R {
        let stand_by = relayed.serving().stand_by.clone();
        let place = Place { site: relayed.site(), request: &facts.request(), frozen: relayed.live.snapshot.frozen() };
        let answer = unavailable(status, &place, stand_by, facts.accept_language.as_deref());
        write(&Answer { retry_after, ..answer })
    }

    /// Counts a request that a platform answered, or should have, when that is over.
    pub fn count_relayed(&self, relayed: &Relayed, facts: &Facts<'_>, lane: Lane, sent: Sent<'_>) {
        let sent = Sent { platform: &relayed.platform, ..sent };
        self.count(&relayed.live, &relayed.subject, facts, lane, sent);
    }

    /// Counts a request that the guard refuses on its way to a platform.
    pub fn count_denied(&self, relayed: &Relayed, reason: Reason) {
        self.counters(&relayed.live, relayed.subject.site).deny(reason);
    }

    /// Counts what the firewall did with a request.
    pub fn count_waf(&self, relayed: &Relayed, action: WafAction) {
        self.counters(&relayed.live, relayed.subject.site).waf(action);
    }

    /// What is not answered here and now.
    fn elsewhere<R>(&self, live: &Arc<Live>, decision: &Decision<'_>) -> Option<Step<R>> {
        match decision.verdict {
            Verdict::Serve { platform, path, rewriting }
                if self.served.contains(platform) || Origin::is_origin(platform) =>
            {
                Some(Step::Relay(Relayed {
                    platform: platform.to_owned(),
                    path: path.to_owned(),
                    rewriting: rewriting.cloned(),
                    live: live.clone(),
                    subject: Arc::new(Subject::of(decision).into_owned()),
                }))
            }
            Verdict::Sitemap(_) if sitemap::is_large(decision) => Some(Step::Large),
            _ => None,
        }
    }

    /// Counts a request that is answered, and tells who wants to know of it.
    fn count(&self, live: &Live, subject: &Subject<'_>, facts: &Facts<'_>, lane: Lane, sent: Sent<'_>) {
        let site = subject.site.and_then(|site| live.snapshot.sites().get(site));
        let at = self.clock.time_of(facts.since);
        subject.tell(facts, lane, sent, at, site.map_or("", |site| &site.id), |exchange| {
            self.metrics.count(self.counters(live, subject.site), exchange);
            if let Some(routes) = subject.site.and_then(|site| live.routes.get(site)) {
                routes.count(subject.by);
            }
            if self.pipeline.is_wanted() {
                self.pipeline.leave(exchange);
            }
        });
    }

    fn counters<'a>(&'a self, live: &'a Live, site: Option<usize>) -> &'a SiteCounters {
        site.and_then(|number| live.counters.get(number)).map_or(self.metrics.no_site(), |counters| counters)
    }
}

/// A request for a line of the log. What a client sent is escaped.
fn told(view: &View<'_>, tags: &[Arc<str>]) -> String {
    let client = view.client.map_or_else(|| "-".to_owned(), |client| client.to_string());
    let host = view.host.unwrap_or_default().escape_ascii();
    let target = view.target.get(..MAX_TOLD).unwrap_or(view.target).escape_ascii();
    let tags = if tags.is_empty() { String::new() } else { format!(" [{}]", tags.join(" ")) };
    format!("{client} {} {host}{target}{tags}", view.method.escape_debug())
}

/// Longest part of a target in a line of the log, in bytes.
const MAX_TOLD: usize = 1024;

/// The number of the site that a request is for, and what is admitted there.
fn policy<'a>(live: &'a Live, facts: &Facts<'_>) -> (Option<usize>, &'a Policy) {
    let host = facts.host.as_deref();
    let site = host.and_then(|host| SCRATCH.with_borrow_mut(|scratch| live.snapshot.site_of(host, scratch)));
    (site, site.and_then(|site| live.policies.get(site)).unwrap_or(&live.policy))
}

/// Large answers that are made at the same time. Each takes a core for milliseconds.
const MADE_AT_ONCE: usize = 2;

/// Kilobytes: five of the largest sitemaps that there may be, hundreds of usual ones.
const ROOM: usize = 256 * 1024;

/// How long a request waits for its turn, and for room. Slow clients are to be gone within 15 seconds, this included.
const PATIENCE: Duration = Duration::from_secs(1);
