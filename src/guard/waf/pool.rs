//! The threads on which rules run, and how long a request waits for them.

use std::{
    fmt,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::timeout};

use super::{Findings, Hit, Mode, Policy, Request, Rules, Stuck, prefilter::Judgement};
use crate::config::WafBounds;

/// What came of an inspection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inspection {
    /// The rules don't run for this request, or have nothing to say of requests like it.
    Skipped,
    /// They found nothing that counts.
    Clean,
    /// They found something.
    Found(Findings),
    /// They could not look at it.
    Bound(Bound),
}

/// Why a request could not be inspected, or not in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// It took too long.
    Time,
    /// Too many requests were waiting.
    Queue,
    /// Its body is too long.
    Body,
    /// The engine failed.
    Engine,
}

impl Bound {
    /// What people read.
    pub fn text(self) -> &'static str {
        match self {
            Bound::Time => "it took too long",
            Bound::Queue => "too many requests were waiting",
            Bound::Body => "its body is too long",
            Bound::Engine => "the rule engine failed",
        }
    }
}

/// The firewall of a process. Its rules are loaded once, when they are first wanted.
pub struct Waf {
    rules: OnceLock<Option<Arc<Rules>>>,
    bounds: WafBounds,
    queue: OnceLock<SyncSender<Job>>,
    said: Mutex<Said>,
}

/// Lines of the log within a second.
struct Said {
    since: Instant,
    lines: u32,
}

impl fmt::Debug for Waf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waf").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}

impl Waf {
    /// One that has no rules yet.
    pub fn new(bounds: WafBounds) -> Self {
        let said = Mutex::new(Said { since: Instant::now(), lines: 0 });
        Waf { rules: OnceLock::new(), bounds, queue: OnceLock::new(), said }
    }

    /// One with these rules.
    pub fn with_rules(bounds: WafBounds, rules: Rules) -> Self {
        let waf = Waf::new(bounds);
        // Nobody else has it yet.
        let _ = waf.rules.set(Some(Arc::new(rules)));
        waf
    }

    /// Loads the rules, unless they are there, and tells the log of what is wrong with them. Takes a second or two.
    pub fn prepare(&self) {
        self.rules.get_or_init(|| match super::load(&self.bounds.rules) {
            Ok(rules) => {
                log::info!("{} rules of the firewall from {}", rules.count, self.bounds.rules.display());
                rules.faults.iter().for_each(|fault| log::warn!("{fault}"));
                if let Some(obstacle) = rules.prefilter.obstacle(1) {
                    log::warn!("every request to a platform is inspected, page views too: {obstacle}");
                }
                Some(Arc::new(rules))
            }
            Err(fault) => {
                log::error!("the firewall has no rules: {fault}");
                None
            }
        });
    }

    /// What inspecting may take.
    pub fn bounds(&self) -> &WafBounds {
        &self.bounds
    }

    /// Lets the rules look at a request, for a site that has `policy`.
    pub async fn inspect(self: &Arc<Self>, policy: &Policy, mut request: Request) -> Inspection {
        if policy.mode == Mode::Off {
            return Inspection::Skipped;
        }
        let Some(rules) = self.rules.get() else {
            // A site has come to want them since the start.
            let waf = self.clone();
            tokio::task::spawn_blocking(move || waf.prepare());
            return Inspection::Bound(Bound::Engine);
        };
        let Some(rules) = rules.clone() else { return Inspection::Bound(Bound::Engine) };
        request.paranoia = policy.paranoia;
        let judgement = rules.prefilter.judge(&request);
        if let Judgement::Plain = judgement {
            return Inspection::Skipped;
        }
        let target = request.target.clone();
        match self.run(rules, request, judgement).await {
            Ok(hits) => {
                let findings = policy.weigh(hits, &target);
                if findings.hits.is_empty() { Inspection::Clean } else { Inspection::Found(findings) }
            }
            Err(bound) => Inspection::Bound(bound),
        }
    }

    /// Writes to the log, but not more than so many lines a second: no client may fill it.
    pub fn say(&self, line: impl FnOnce()) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.since.elapsed() >= Duration::from_secs(1) {
            let left_out = said.lines.saturating_sub(LINES);
            *said = Said { since: Instant::now(), lines: 0 };
            if left_out > 0 {
                log::info!(target: "waypost::waf", "{left_out} more lines within a second are left out");
            }
        }
        said.lines = said.lines.saturating_add(1);
        let says = said.lines <= LINES;
        drop(said);
        if says {
            line();
        }
    }

    async fn run(&self, rules: Arc<Rules>, request: Request, judgement: Judgement) -> Result<Vec<Hit>, Bound> {
        let (answer, answered) = oneshot::channel();
        let given_up = Arc::new(AtomicBool::new(false));
        let job = Job { rules, request, judgement, given_up: given_up.clone(), answer };
        self.queue.get_or_init(|| start(&self.bounds)).try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => Bound::Queue,
            TrySendError::Disconnected(_) => Bound::Engine,
        })?;
        // Nobody needs what is still waiting when its client is gone, or when time is up.
        let _gone = SetOnDrop(given_up);
        match timeout(self.bounds.time, answered).await {
            Ok(Ok(hits)) => hits.map_err(|_| Bound::Engine),
            Ok(Err(_)) => Err(Bound::Engine),
            Err(_) => Err(Bound::Time),
        }
    }
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

struct Job {
    rules: Arc<Rules>,
    request: Request,
    judgement: Judgement,
    given_up: Arc<AtomicBool>,
    answer: oneshot::Sender<Result<Vec<Hit>, Stuck>>,
}

impl Job {
    fn run(self) {
        if self.given_up.load(Ordering::Relaxed) {
            return;
        }
        let engine = &self.rules.engine;
        // A thread that is lost is lost for good: whatever happens in the engine, it goes on.
        let result = catch_unwind(AssertUnwindSafe(|| engine.inspect(&self.request))).unwrap_or(Err(Stuck("panicked")));
        let is_clean = result.as_ref().is_ok_and(Vec::is_empty);
        // An error means that nobody waits any more.
        let _ = self.answer.send(result);
        // The first of a paranoia level lets the prefilter read its rules.
        let _ = self.rules.prefilter.obstacle(self.request.paranoia);
        if let Judgement::Unknown(head) = self.judgement
            && is_clean
        {
            let _ = catch_unwind(AssertUnwindSafe(|| self.rules.learn(head)));
        }
    }
}

/// Starts the threads; they end when the firewall does.
fn start(bounds: &WafBounds) -> SyncSender<Job> {
    let (sender, receiver) = sync_channel::<Job>(bounds.queue.max(1));
    let receiver = Arc::new(Mutex::new(receiver));
    let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let threads = if bounds.threads == 0 { processors.div_ceil(2) } else { bounds.threads };
    for number in 0..threads {
        let receiver = receiver.clone();
        let thread = thread::Builder::new().name(format!("waf-{number}")).stack_size(STACK);
        if let Err(error) = thread.spawn(move || work(&receiver)) {
            log::error!("no thread for the rules: {error}");
        }
    }
    sender
}

fn work(receiver: &Mutex<Receiver<Job>>) {
    loop {
        let job = receiver.lock().unwrap_or_else(PoisonError::into_inner).recv();
        match job {
            Ok(job) => job.run(),
            Err(_) => return,
        }
    }
}

/// Regular expressions of the rule set recurse deeply.
const STACK: usize = 8 << 20;

/// Hits that are told within a second.
const LINES: u32 = 100;

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::config::Mode;
    use crate::guard::waf::{Engine, Prefilter, Severity, directives::RuleSet};

    /// Does as the target says: `/hit'`, `/panic'`, `/stuck'`, and `/wait'` until it is told.
    struct Fake(Mutex<Receiver<()>>);

    impl fmt::Debug for Fake {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Fake")
        }
    }

    impl Engine for Fake {
        fn inspect(&self, request: &Request) -> Result<Vec<Hit>, Stuck> {
            let hit = Hit {
                id: 1,
                severity: Severity::Critical,
                paranoia: 1,
                message: "".into(),
                tags: Vec::new().into(),
                denies: false,
            };
            match &request.target[..] {
                b"/panic'" => panic!("as asked"),
                b"/stuck'" => Err(Stuck("was asked to")),
                b"/wait'" => {
                    let _ = self.0.lock().unwrap().recv();
                    Ok(Vec::new())
                }
                b"/hit'" => Ok(vec![hit]),
                _ => Ok(Vec::new()),
            }
        }
    }

    fn waf(time: Duration, queue: usize) -> (Arc<Waf>, std::sync::mpsc::Sender<()>) {
        let (tell, told) = channel();
        let prefilter = Prefilter::new(RuleSet::default());
        assert_eq!(prefilter.obstacle(1), None);
        let rules = Rules { engine: Arc::new(Fake(Mutex::new(told))), prefilter, count: 1, faults: Vec::new() };
        let bounds = WafBounds { rules: "".into(), time, threads: 1, queue, body: 1024 };
        (Arc::new(Waf::with_rules(bounds, rules)), tell)
    }

    fn request(target: &str) -> Request {
        Request { method: "GET".into(), target: target.into(), version: "1.1", ..Request::default() }
    }

    fn policy(at_bound: crate::config::AtBound) -> Policy {
        Policy { mode: Mode::Block, at_bound, ..Policy::default() }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_panic_and_a_failure_cost_no_thread() {
        let (waf, _tell) = waf(LONG, 4);
        let policy = policy(crate::config::AtBound::Refuse);
        for target in ["/panic'", "/stuck'"] {
            let inspection = waf.inspect(&policy, request(target)).await;
            assert_eq!(inspection, Inspection::Bound(Bound::Engine), "{target}");
            assert!(policy.refuses(&inspection));
        }
        let inspection = waf.inspect(&policy, request("/hit'")).await;
        assert!(matches!(&inspection, Inspection::Found(findings) if findings.score == 5), "{inspection:?}");
        assert!(policy.refuses(&inspection));
        assert_eq!(waf.inspect(&policy, request("/clean'")).await, Inspection::Clean);
    }

    #[tokio::test]
    async fn nobody_waits_longer_than_the_bound() {
        let (waf, tell) = waf(Duration::from_millis(20), 4);
        let policy = policy(crate::config::AtBound::Pass);
        // The one thread is stuck; the second request waits behind it.
        for target in ["/wait'", "/hit'"] {
            let inspection = waf.inspect(&policy, request(target)).await;
            assert_eq!(inspection, Inspection::Bound(Bound::Time), "{target}");
            assert!(!policy.refuses(&inspection));
        }
        drop(tell);
    }

    #[tokio::test]
    async fn no_more_wait_than_the_queue_holds() {
        let (waf, tell) = waf(LONG, 1);
        let policy = policy(crate::config::AtBound::Pass);
        let ask = || {
            let (waf, policy) = (waf.clone(), policy.clone());
            tokio::spawn(async move { waf.inspect(&policy, request("/wait'")).await })
        };
        // One runs, one waits, and the next has no place, in whatever order they come.
        let asked = [ask(), ask(), ask(), ask()];
        let mut refused = 0;
        while refused < 2 {
            tokio::task::yield_now().await;
            refused = asked.iter().filter(|asked| asked.is_finished()).count();
        }
        drop(tell);
        let mut bound = 0;
        for asked in asked {
            bound += usize::from(asked.await.unwrap() == Inspection::Bound(Bound::Queue));
        }
        assert!((2..=3).contains(&bound), "{bound}");
    }

    #[tokio::test]
    async fn a_plain_request_is_spared_once_its_head_is_known() {
        let (waf, _tell) = waf(LONG, 4);
        let policy = policy(crate::config::AtBound::Pass);
        assert_eq!(waf.inspect(&policy, request("/index.html")).await, Inspection::Clean);
        // The head is looked at after the answer.
        while waf.inspect(&policy, request("/other.html")).await != Inspection::Skipped {}
        let off = Policy { mode: Mode::Off, ..policy };
        assert_eq!(waf.inspect(&off, request("/hit'")).await, Inspection::Skipped);
    }
}
