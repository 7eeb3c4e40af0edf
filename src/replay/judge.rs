//! What the gateway would answer, without being one: the reading of heads, the guard and the decision that traffic has.
//!
//! Rates and bounds on what one client may do at once are left out, since a log of years is read within seconds; of crawlers
//! nobody asks DNS. All else that the guard asks is asked of what the log says of the client.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Instant};

use crate::answer::{Facts, Parts};
use crate::config::GuardSettings;
use crate::guard::{Asks, Crawlers, Fields, Guard, Notes, Policy, Ruling, View};
use crate::model::{Outcome, Phase, Reason, Verdict};
use crate::routing::{By, Decision, Request, Scratch, Snapshot};
use crate::url::{Charset, to_wire};

use super::format::Line;

/// A tree of routes, and what it admits, as of a moment.
#[derive(Debug)]
pub struct Judge {
    snapshot: Snapshot,
    /// Those of the sites.
    policies: Vec<Arc<Policy>>,
    /// That of hosts that no site has.
    policy: Arc<Policy>,
    guard: Guard,
    /// The moment of all decisions, in Unix seconds.
    now: i64,
    started: Instant,
}

/// Working space of a thread.
#[derive(Debug, Default)]
pub struct Space {
    scratch: Scratch,
    wire: String,
}

/// A request of a log.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// What its line says.
    pub line: &'a Line<'a>,
    /// The host, if anybody knows.
    pub host: Option<&'a [u8]>,
    /// Whether the client came by HTTPS.
    pub secure: bool,
}

/// What would become of a request.
#[derive(Clone, Copy, Debug)]
pub struct Judged<'a> {
    /// What would be answered; if the site sends clients to HTTPS first, what it would answer there.
    pub decision: Decision<'a>,
    /// Whether, and how, the site insists on HTTPS before anything else.
    pub insists: Insists,
    /// The target that was decided.
    pub target: &'a [u8],
    /// What else of the line it depends on.
    pub depends: Depends,
}

/// On what of a line a verdict depends, besides method, scheme, host and target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depends {
    /// On nothing.
    OnNothing,
    /// On whether the client is let in by the policy of a site, or of none ([`Judge::lets_in`]).
    OnAddress(Option<u32>),
    /// On the client, or on header fields.
    OnAnything,
}

/// How a site insists on HTTPS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Insists {
    /// Not at all, or the client had come by it.
    #[default]
    No,
    /// By a redirect.
    Redirect,
    /// By a refusal.
    Refusal,
}

impl Insists {
    /// What the client is answered first, if that is it.
    pub fn outcome(self) -> Option<Outcome> {
        match self {
            Insists::No => None,
            Insists::Redirect => Some(Outcome::Redirect),
            Insists::Refusal => Some(Outcome::HttpsRequired),
        }
    }

    fn of(decision: &Decision<'_>, secure: bool) -> Self {
        match decision.verdict {
            Verdict::Redirect { .. } if decision.by == By::Site && !secure => Insists::Redirect,
            Verdict::HttpsRequired { .. } => Insists::Refusal,
            _ => Insists::No,
        }
    }
}

impl Judge {
    /// A judge by these routes at `now` (Unix seconds).
    pub fn new(snapshot: Snapshot, now: i64) -> Self {
        let without_rates = |settings: &GuardSettings| GuardSettings { rates: Vec::new(), ..settings.clone() };
        let gateway = without_rates(snapshot.guard());
        #[expect(clippy::mutable_key_type, reason = "files of rules are told apart by where they are, which stays")]
        let mut policies: HashMap<GuardSettings, Arc<Policy>> = HashMap::new();
        let mut policy_of = |settings: &GuardSettings| {
            let settings = without_rates(settings);
            let policy = policies
                .entry(settings)
                .or_insert_with_key(|settings| Arc::new(Policy::new(settings, &gateway, snapshot.sources())));
            policy.clone()
        };
        let policies = snapshot.sites().iter().map(|site| policy_of(&site.guard)).collect();
        let policy = policy_of(&GuardSettings::default());
        let started = Instant::now();
        Judge { policies, policy, snapshot, guard: Guard::new(1, Crawlers::new(&[]), started), now, started }
    }

    /// The routes.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// Whether the client of a line is let in, if a verdict depends on that; false where it depends on more.
    pub fn lets_in(&self, line: &Line<'_>, depends: Depends) -> bool {
        match depends {
            Depends::OnNothing => true,
            Depends::OnAddress(site) => self.policy(site.map(|site| site as usize)).lets_in(client(line)),
            Depends::OnAnything => false,
        }
    }

    /// Says what would become of a request, and hands it to `tell`.
    pub fn judge<R>(&self, asked: &Asked<'_>, space: &mut Space, tell: impl FnOnce(&Judged<'_>) -> R) -> R {
        let Space { scratch, wire } = space;
        let line = asked.line;
        let method = str::from_utf8(line.method).unwrap_or_default();
        let number = asked.host.and_then(|host| self.snapshot.site_of(host, scratch));
        let table = number.and_then(|number| self.snapshot.sites().get(number));
        let mut target = line.target;
        if line.is_decoded && !target.is_ascii() {
            // The client had sent it in the site's charset.
            let charset = table.map_or(Charset::Utf8, |table| table.canonicalizer.settings().charset);
            if let Ok(text) = str::from_utf8(target) {
                *wire = to_wire(text, charset);
                target = wire.as_bytes();
            }
        }
        let facts = Facts::read(
            &Parts { method, target, host: asked.host, secure: asked.secure, ..Parts::default() },
            self.started,
        );
        let target = &*facts.target;
        if let Some(refusal) = facts.refused {
            let decision = self.snapshot.undecided(Verdict::BadRequest(refusal.reason));
            return tell(&Judged { decision, insists: Insists::No, target, depends: Depends::OnNothing });
        }
        // An absolute target names the host itself.
        let number = match facts.host.as_deref() == asked.host {
            true => number,
            false => facts.host.as_deref().and_then(|host| self.snapshot.site_of(host, scratch)),
        };
        let mut depends = Depends::OnNothing;
        let asked_table = number.and_then(|number| self.snapshot.sites().get(number));
        let is_challenge = self.snapshot.challenge(asked_table.map(|table| &**table), facts.method, target).is_some();
        if !self.snapshot.is_health(target) && !is_challenge {
            let site = number.and_then(|number| Some((number, self.snapshot.sites().get(number)?)));
            depends = match self.policy(number).asks() {
                Asks::Nothing => Depends::OnNothing,
                Asks::Address => Depends::OnAddress(number.map(|number| number as u32)),
                Asks::Anything => Depends::OnAnything,
            };
            match self.admit(number, &facts, line, method) {
                Ruling::Admit => {}
                Ruling::Refuse(denial) => {
                    let decision = Decision { site, ..self.snapshot.undecided(Verdict::Denied(denial)) };
                    return tell(&Judged { decision, insists: Insists::No, target, depends });
                }
                Ruling::Redirect { location, status } => {
                    let verdict = self.snapshot.unless_frozen(Verdict::Redirect { status, location: &location });
                    let decision = Decision { site, ..self.snapshot.undecided(verdict) };
                    return tell(&Judged { decision, insists: Insists::No, target, depends });
                }
            }
        }
        let request = facts.request();
        let decision = self.snapshot.decide(&request, self.now, scratch);
        if decision.phase == Some(Phase::Notice) {
            depends = Depends::OnAnything;
        }
        let insists = Insists::of(&decision, request.secure);
        if insists == Insists::No {
            return tell(&Judged { decision, insists, target, depends });
        }
        let request = Request { secure: true, ..request };
        let decision = self.snapshot.decide(&request, self.now, scratch);
        tell(&Judged { decision, insists, target, depends })
    }

    fn policy(&self, site: Option<usize>) -> &Policy {
        site.and_then(|site| self.policies.get(site)).unwrap_or(&self.policy)
    }

    fn admit(&self, number: Option<usize>, facts: &Facts<'_>, line: &Line<'_>, method: &str) -> Ruling {
        let table = number.and_then(|number| self.snapshot.sites().get(number));
        let target = &*facts.target;
        let view = View {
            site: table.map_or("", |table| &table.id),
            method,
            host: facts.host.as_deref(),
            target,
            secure: facts.secure,
            client: client(line),
            is_many: false,
            fields: line,
            habits: table.map(|table| table.canonicalizer.settings()),
            is_mapped: &|| table.is_some_and(|table| table.has_mapping(target)),
        };
        self.guard.admit(self.policy(number), &view, self.started, &mut Notes::default(), &mut ())
    }
}

/// Who sent the request of a line, if it says so.
fn client(line: &Line<'_>) -> Option<IpAddr> {
    str::from_utf8(line.client).ok()?.parse().ok()
}

/// The fields that logs keep.
impl Fields for Line<'_> {
    fn each(&self, name: &str, tell: &mut dyn FnMut(&[u8])) {
        let value = match name {
            "referer" => self.referer,
            "user-agent" => self.user_agent,
            "host" => self.host,
            _ => return,
        };
        if !value.is_empty() {
            tell(value);
        }
    }
}

/// The reason of a refusal, if it is one.
pub fn reason(verdict: &Verdict<'_>) -> Option<Reason> {
    match verdict {
        Verdict::Denied(denial) => Some(denial.reason),
        _ => None,
    }
}
