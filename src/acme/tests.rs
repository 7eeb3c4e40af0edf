//! A simulated year with an authority that keeps its own count, and the cases that it is made of.

use std::collections::{BTreeMap, HashMap, HashSet};

use proptest::prelude::*;

use super::ledger::WEEK;
use super::*;
use crate::config::AcmeLimits;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
const LIFE: i64 = 90 * DAY;
const START: i64 = 1_700_000_000;
const LIMITS: AcmeLimits = AcmeLimits { names: 20, certificates: 6, orders: 9, duplicates: 2, failures: 2 };

/// Random numbers that a seed repeats (xorshift).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What an authority counts, as its documentation says it: requests of the last so many seconds.
#[derive(Default)]
struct Authority {
    orders: Vec<i64>,
    issued: Vec<(i64, Vec<String>)>,
    failures: HashMap<String, Vec<i64>>,
    open: HashMap<String, Vec<String>>,
}

impl Authority {
    fn check(&self, now: i64) {
        let recent = |at: &i64, window: i64| *at > now - window;
        let orders = self.orders.iter().filter(|at| recent(at, 3 * HOUR)).count();
        assert!(orders <= LIMITS.orders as usize, "{orders} orders in three hours");
        let mut domains: BTreeMap<&str, u32> = BTreeMap::new();
        let mut sets: HashMap<&[String], u32> = HashMap::new();
        for (_, names) in self.issued.iter().filter(|(at, _)| recent(at, WEEK)) {
            let of: HashSet<&str> = names.iter().map(|name| registered(name)).collect();
            of.into_iter().for_each(|domain| *domains.entry(domain).or_default() += 1);
            *sets.entry(names).or_default() += 1;
        }
        assert!(domains.values().all(|count| *count <= LIMITS.certificates), "{domains:?}");
        assert!(sets.values().all(|count| *count <= LIMITS.duplicates), "{sets:?}");
        for (name, failures) in &self.failures {
            let count = failures.iter().filter(|at| recent(at, HOUR)).count();
            assert!(count <= LIMITS.failures as usize, "{name} failed {count} times in an hour");
        }
    }

    fn place(&mut self, names: &[String], now: i64) -> String {
        self.orders.push(now);
        self.check(now);
        let url = format!("order-{}", self.orders.len());
        self.open.insert(url.clone(), names.to_vec());
        url
    }

    fn refuse(&mut self, name: &str, now: i64) {
        self.failures.entry(name.to_owned()).or_default().push(now);
        self.check(now);
    }

    fn issue(&mut self, url: &str, now: i64) {
        if let Some(names) = self.open.remove(url) {
            self.issued.push((now, names));
            self.check(now);
        }
    }
}

fn name(name: &str) -> Wanted {
    Wanted { name: name.to_owned(), ..Wanted::default() }
}

fn sites(domains: u64, names: u64) -> Vec<Wanted> {
    let one = |number| Wanted {
        name: format!("n{number:04}.city{}.gov.cn", number % domains),
        site: format!("s{}", number / 3),
        owner: format!("o{}", number % 7),
        wave: (number % 3) as u16,
        is_urgent: false,
    };
    (0..names).map(one).collect()
}

/// One engine that dies often, and what it wrote down.
struct World {
    now: i64,
    dice: Dice,
    authority: Authority,
    ledger: Ledger,
    entries: Vec<Entry>,
    /// Per cent of validations that fail, for names that can.
    failing: u64,
}

impl World {
    fn new(seed: u64, failing: u64) -> Self {
        World {
            now: START,
            dice: Dice(seed | 1),
            authority: Authority::default(),
            ledger: Ledger::default(),
            entries: Vec::new(),
            failing,
        }
    }

    fn pass(&mut self) {
        self.now += self.dice.below(120) as i64;
    }

    fn record(&mut self, event: Event) {
        self.pass();
        let entry = Entry { at: self.now, event };
        self.ledger.apply(&entry);
        self.entries.push(entry);
    }

    /// Whether the process dies now.
    fn dies(&mut self) -> bool {
        self.pass();
        self.dice.percent(4)
    }

    fn order(&mut self, id: OrderId, is_flaky: &dyn Fn(&str) -> bool) {
        let order = self.ledger.order(id).unwrap().clone();
        let url = match order.url {
            Some(url) => url,
            None => {
                // Somebody who died after placing it: some authorities list orders, with others it is placed again.
                let lost = self.authority.open.iter().find(|(_, names)| **names == order.names);
                let url = match lost.map(|(url, _)| url.clone()).filter(|_| id.is_multiple_of(2)) {
                    Some(url) => url,
                    None => {
                        if order.begun != self.now {
                            let names = order.names.clone();
                            self.record(Event::Ordering { order: id, names, replaces: order.replaces.clone() });
                        }
                        if self.dies() {
                            return;
                        }
                        if self.dice.percent(2) {
                            let until = self.now + 2 * HOUR;
                            self.record(Event::Limited { until, why: "busy".to_owned() });
                            return self.record(Event::Dropped { order: id, why: "busy".to_owned() });
                        }
                        self.authority.place(&order.names, self.now)
                    }
                };
                if self.dies() {
                    return;
                }
                self.record(Event::Ordered { order: id, url: url.clone() });
                url
            }
        };
        if self.dies() {
            return;
        }
        if !order.finalizing {
            let mut failures = Vec::new();
            for name in &order.names {
                if is_flaky(name) && self.dice.percent(self.failing) {
                    self.pass();
                    self.authority.refuse(name, self.now);
                    failures.push(Failure { name: name.clone(), why: "no".to_owned() });
                }
            }
            if !failures.is_empty() {
                self.authority.open.remove(&url);
                self.record(Event::Invalid { order: id, failures });
                return self.record(Event::Dropped { order: id, why: "names".to_owned() });
            }
            self.record(Event::Finalizing { order: id });
        }
        if self.dies() {
            return;
        }
        self.authority.issue(&url, self.now);
        if self.dies() {
            return;
        }
        if self.dice.percent(2) {
            return self.record(Event::Dropped { order: id, why: "lost".to_owned() });
        }
        let (not_before, certificate) = (self.now - HOUR, format!("{id:x}"));
        self.record(Event::Issued {
            order: id,
            file: format!("{id}.pem"),
            not_before,
            not_after: not_before + LIFE,
            certificate: certificate.clone(),
        });
        if self.dice.percent(30) {
            let start = not_before + LIFE / 3;
            self.record(Event::Suggested { certificate, start, end: start + 2 * DAY });
        }
    }

    /// Runs until a moment. `look` sees every state.
    fn run(&mut self, wanted: &[Wanted], until: i64, is_flaky: &dyn Fn(&str) -> bool, mut look: impl FnMut(&Self)) {
        while self.now < until {
            look(self);
            match next(&self.ledger, wanted, &LIMITS, self.now) {
                Step::Wait(at) => {
                    assert!(at > self.now, "waiting for the past");
                    self.now = at.min(self.now + DAY);
                }
                Step::Order(Batch { names, replaces }) => {
                    assert!(names.len() <= LIMITS.names && names.is_sorted());
                    assert_eq!(self.ledger.open_order(), None);
                    let order = self.ledger.next_order();
                    let at = self.now;
                    let entry = Entry { at, event: Event::Ordering { order, names, replaces } };
                    self.ledger.apply(&entry);
                    self.entries.push(entry);
                    self.order(order, is_flaky);
                }
                Step::Resume(order) => self.order(order, is_flaky),
            }
            // A ledger that is read again is the same; one that is pruned knows as much.
            if self.dice.percent(3) {
                let mut again = Ledger::default();
                for entry in &self.entries {
                    let line = serde_json::to_string(entry).unwrap();
                    again.apply(&serde_json::from_str(&line).unwrap());
                }
                assert_eq!(again, self.ledger);
                again.prune(self.now);
                assert_eq!(next(&again, wanted, &LIMITS, self.now), next(&self.ledger, wanted, &LIMITS, self.now));
                let compacted = Event::Compacted { ledger: Box::new(again) };
                self.entries = vec![Entry { at: self.now, event: compacted }];
                self.ledger.prune(self.now);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn limits_hold_for_a_year_whatever_fails(seed: u64, failing in 0_u64..100, names in 1_u64..260) {
        let wanted = sites(5, names);
        let is_flaky = |name: &str| name.as_bytes()[4].is_multiple_of(5);
        let mut world = World::new(seed, failing);
        let (mut orders, mut uncovered) = (0, HashSet::new());
        world.run(&wanted, START + 365 * DAY, &is_flaky, |world| {
            orders = orders.max(world.ledger.next_order());
            if world.now < START + 30 * DAY {
                return;
            }
            let coverage = world.ledger.coverage(world.now);
            for name in wanted.iter().filter(|name| !is_flaky(&name.name)) {
                if !coverage.contains_key(name.name.as_str()) {
                    uncovered.insert(name.name.clone());
                }
            }
        });
        prop_assert!(uncovered.is_empty(), "not covered after a month: {uncovered:?}");
        // Failures are tried again, but not without end.
        prop_assert!(orders < 2_500, "{orders} orders");
    }
}

#[test]
fn a_province_takes_33_certificates_and_a_plan_is_what_is_done() {
    let limits = AcmeLimits { names: 100, certificates: 50, orders: 300, duplicates: 5, failures: 5 };
    for domains in [1, 16, 127, 600] {
        let wanted = sites(domains, 3_206);
        let planned = plan(&Ledger::default(), &wanted, &limits, START);
        assert_eq!(planned.len(), 33, "{domains} domains");
        assert!(planned.iter().all(|order| order.at == START && order.names.len() <= 100));
        let names: HashSet<&String> = planned.iter().flat_map(|order| &order.names).collect();
        assert_eq!(names.len(), 3_206);
        let mut ledger = Ledger::default();
        for want in &planned {
            let Step::Order(batch) = next(&ledger, &wanted, &limits, START) else { panic!("nothing to do") };
            assert_eq!(batch.names, want.names);
            issue(&mut ledger, batch, START);
        }
        assert_eq!(plan(&ledger, &wanted, &limits, START), []);
    }
}

/// Takes an order to its end at one moment.
fn issue(ledger: &mut Ledger, batch: Batch, at: i64) -> String {
    let order = ledger.next_order();
    let certificate = format!("c{order}");
    for event in [
        Event::Ordering { order, names: batch.names, replaces: batch.replaces },
        Event::Ordered { order, url: "u".to_owned() },
        Event::Finalizing { order },
        Event::Issued {
            order,
            certificate: certificate.clone(),
            file: "f".to_owned(),
            not_before: at,
            not_after: at + LIFE,
        },
    ] {
        ledger.apply(&Entry { at, event });
    }
    certificate
}

fn order(ledger: &Ledger, wanted: &[Wanted], now: i64) -> Batch {
    match next(ledger, wanted, &LIMITS, now) {
        Step::Order(batch) => batch,
        step => panic!("{step:?}"),
    }
}

#[test]
fn more_than_a_week_allows_takes_more_weeks() {
    // Ten certificates of one domain, at six a week.
    let wanted = sites(1, 200);
    let planned = plan(&Ledger::default(), &wanted, &LIMITS, START);
    let days: Vec<i64> = planned.iter().map(|order| (order.at - START) / DAY).collect();
    assert_eq!(days, [0, 0, 0, 0, 0, 0, 7, 7, 7, 7]);
    // And nine orders in three hours, of several domains.
    let wanted = sites(10, 200);
    let planned = plan(&Ledger::default(), &wanted, &LIMITS, START);
    let hours: Vec<i64> = planned.iter().map(|order| (order.at - START) / HOUR).collect();
    assert_eq!(hours, [0, 0, 0, 0, 0, 0, 0, 0, 0, 3]);
}

#[test]
fn a_name_that_fails_does_not_hold_up_the_others_and_waits_longer_each_time() {
    let wanted = [name("a.x.gov.cn"), name("bad.x.gov.cn"), name("c.x.gov.cn")];
    let mut ledger = Ledger::default();
    let first = order(&ledger, &wanted, START);
    assert_eq!(first.names.len(), 3);
    let fail = |ledger: &mut Ledger, batch: Batch, at| {
        let order = ledger.next_order();
        let failures = vec![Failure { name: "bad.x.gov.cn".to_owned(), why: "no answer".to_owned() }];
        for event in [
            Event::Ordering { order, names: batch.names, replaces: None },
            Event::Ordered { order, url: "u".to_owned() },
            Event::Invalid { order, failures },
            Event::Dropped { order, why: "a name".to_owned() },
        ] {
            ledger.apply(&Entry { at, event });
        }
    };
    fail(&mut ledger, first, START);
    let second = order(&ledger, &wanted, START);
    assert_eq!(second.names, ["a.x.gov.cn", "c.x.gov.cn"]);
    issue(&mut ledger, second, START);
    let mut at = START;
    for wait in [1, 2, 4, 8, 16, 32, 64, 128, 168, 168] {
        assert_eq!(next(&ledger, &wanted[1..2], &LIMITS, at), Step::Wait(at + wait * HOUR));
        at += wait * HOUR;
        let again = order(&ledger, &wanted[1..2], at);
        assert_eq!(again.names, ["bad.x.gov.cn"]);
        fail(&mut ledger, again, at);
    }
    assert_eq!(ledger.trouble("bad.x.gov.cn").map(|trouble| trouble.why.as_str()), Some("no answer"));
    at += WEEK;
    let last = order(&ledger, &wanted[1..2], at);
    issue(&mut ledger, last, at);
    assert_eq!(ledger.trouble("bad.x.gov.cn"), None);
}

#[test]
fn renewals_come_at_two_thirds_of_life_or_when_the_authority_says() {
    let wanted = [name("a.x.gov.cn")];
    let mut ledger = Ledger::default();
    let id = issue(&mut ledger, order(&Ledger::default(), &wanted, START), START);
    let Step::Wait(own) = next(&ledger, &wanted, &LIMITS, START) else { panic!() };
    assert!((START + LIFE / 3 * 2..START + LIFE * 7 / 10).contains(&own), "{}", own - START);
    let (start, end) = (START + 5 * DAY, START + 6 * DAY);
    ledger.apply(&Entry { at: START, event: Event::Suggested { certificate: id.clone(), start, end } });
    let Step::Wait(suggested) = next(&ledger, &wanted, &LIMITS, START) else { panic!() };
    assert!((start..end).contains(&suggested));
    let renewal = order(&ledger, &wanted, suggested);
    assert_eq!(renewal.replaces, Some(id.clone()));
    // A window beyond its end would be no renewal.
    let (start, end) = (START + LIFE * 2, START + LIFE * 3);
    ledger.apply(&Entry { at: START, event: Event::Suggested { certificate: id.clone(), start, end } });
    let Step::Wait(at) = next(&ledger, &wanted, &LIMITS, START) else { panic!() };
    assert!(at < START + LIFE);
    // One that is revoked is wanted anew at once.
    ledger.apply(&Entry { at: START, event: Event::Ended { certificate: id, why: "key compromised".to_owned() } });
    assert_eq!(order(&ledger, &wanted, START).replaces, None);
}

#[test]
fn what_somebody_wants_now_waits_for_limits_only() {
    let mut wanted = [name("a.x.gov.cn")];
    let mut ledger = Ledger::default();
    issue(&mut ledger, order(&Ledger::default(), &wanted, START), START);
    wanted[0].is_urgent = true;
    // Twice a week the same names.
    let again = order(&ledger, &wanted, START);
    issue(&mut ledger, again, START);
    assert_eq!(next(&ledger, &wanted, &LIMITS, START), Step::Wait(START + WEEK));
}

#[test]
fn what_ends_soon_comes_before_what_is_new() {
    let (old, new) = ([name("old.x.gov.cn")], sites(1, 200));
    let mut ledger = Ledger::default();
    issue(&mut ledger, order(&Ledger::default(), &old, START), START);
    let late = START + LIFE - 7 * DAY;
    let both: Vec<Wanted> = new.iter().chain(&old).cloned().collect();
    assert_eq!(order(&ledger, &both, late).names, ["old.x.gov.cn"]);
    // As long as there is time, new names come first: their citizens see nothing at all.
    let early = START + LIFE * 7 / 10;
    assert_eq!(order(&ledger, &both, early).names.len(), 20);
}

#[test]
fn entries_out_of_order_change_nothing() {
    let mut ledger = Ledger::default();
    for event in [
        Event::Ordered { order: 7, url: "u".to_owned() },
        Event::Finalizing { order: 7 },
        Event::Dropped { order: 7, why: String::new() },
        Event::Issued { order: 7, certificate: "c".to_owned(), file: String::new(), not_before: 0, not_after: 1 },
        Event::Suggested { certificate: "c".to_owned(), start: 1, end: 2 },
        Event::Ended { certificate: "c".to_owned(), why: String::new() },
    ] {
        ledger.apply(&Entry { at: i64::MAX, event });
    }
    assert_eq!(ledger, Ledger::default());
}
