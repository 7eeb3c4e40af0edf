//! Old access logs, replayed: what would become of each request that citizens once made.
//!
//! Owns: the formats of logs ([`mod@format`]), the counting ([`Report`]) and the comparison of two trees of routes. Each request is
//! read, admitted and decided by the functions that traffic takes ([`judge`]), so what is counted here is what serving the
//! same requests would have counted. [`families`] says which systems sites ran on, by the same logs.
//!
//! Never does: network, answering, writing files.
//!
//! Invariants: no line panics, hangs or takes memory that grows with the log; a line that can't be read is counted and the
//! first are told of; what is exact and what is estimated is said in the report; the report does not depend on the number of
//! threads, but for what is dropped when there is too much.
//!
//! Called by: `cli`.

pub mod coverage;
pub mod families;
pub mod format;
pub mod judge;

mod changes;
mod distinct;
mod frequent;
mod input;
mod known;
mod names;
mod report;
mod seen;
mod worker;

use std::{
    panic::resume_unwind,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

pub use changes::{Change, Changes, Kind, Said};
pub use input::Input;
pub use report::{
    Coverage, FileReport, OldStatuses, Report, Share, SiteCoverage, UnknownHost, Unmapped, UnreadableLine,
};

use format::Format;
use input::{Block, Reading, read_blocks};
use judge::Judge;
use names::Names;
use worker::{Desk, Worker};

/// What is to be replayed, and how.
#[derive(Debug)]
pub struct Job {
    /// The logs, in the order in which they are read.
    pub inputs: Vec<Input>,
    /// How their lines are written; found by the first lines where it isn't given.
    pub format: Option<Format>,
    /// The name of the format that is to be found; any where it isn't given.
    pub must_be: Option<&'static str>,
    /// The host of lines that name none; the name of the log says it where this is not given.
    pub host: Option<String>,
    /// Whether clients came by HTTPS where a line doesn't say.
    pub secure: bool,
    /// The routes.
    pub judge: Judge,
    /// Other routes, to compare.
    pub against: Option<Judge>,
    /// The only site that is looked at, by its id.
    pub site: Option<String>,
    /// Lines before this moment are left out (Unix seconds).
    pub since: Option<i64>,
    /// And those from this moment on.
    pub until: Option<i64>,
    /// How many unmapped URLs, unknown hosts and changes are wanted at most.
    pub top: usize,
    /// How many threads decide.
    pub threads: usize,
}

/// How far a replay is.
#[derive(Debug, Default)]
pub struct Progress {
    read: Arc<AtomicU64>,
    lines: AtomicU64,
}

impl Progress {
    /// Bytes of files that were read, packed as they are.
    pub fn bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Lines that were looked at.
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }
}

/// Replays logs. `watch` is called now and then.
pub fn replay(job: &Job, watch: impl FnMut(&Progress)) -> Report {
    let started = Instant::now();
    let names = Names::new(job.judge.snapshot());
    let hosts: Vec<Option<String>> = job.inputs.iter().map(|input| names.host_of(job, input)).collect();
    let shared = worker::Shared::new(job, &hosts);
    let progress = Progress::default();
    let (files, workers) = run(job, &names, &shared, &progress, watch);
    let mut all = Worker::new(&shared);
    workers.into_iter().for_each(|worker| all.merge(worker));
    let files = job.inputs.iter().zip(files).zip(&hosts);
    let files =
        files.map(|((input, file), host)| FileReport { path: input.name(), host: host.clone(), ..file }).collect();
    report::report(&shared, all, files, started.elapsed())
}

/// Runs all threads; what came of each log, and what each worker has counted.
fn run<'j>(
    job: &'j Job,
    names: &Names,
    shared: &'j worker::Shared<'j>,
    progress: &Progress,
    mut watch: impl FnMut(&Progress),
) -> (Vec<FileReport>, Vec<Worker<'j>>) {
    let threads = job.threads.max(1);
    let (blocks, taken) = mpsc::sync_channel::<Block>(threads * 2);
    let (spent, room) = mpsc::channel::<Vec<u8>>();
    let (ended, end) = mpsc::channel::<()>();
    // Only workers have it: when none is left, the reader ends too.
    let taken = Arc::new(Mutex::new(taken));
    thread::scope(|scope| {
        let reader = scope.spawn(move || read_all(job, names, &blocks, &room, progress));
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let (taken, spent, ended) = (taken.clone(), spent.clone(), ended.clone());
                scope.spawn(move || {
                    let (mut worker, mut desk) = (Worker::new(shared), Desk::default());
                    while let Some(block) = taken.lock().ok().and_then(|taken| taken.recv().ok()) {
                        progress.lines.fetch_add(worker.count_block(&block, &mut desk), Ordering::Relaxed);
                        let _ = spent.send(block.bytes);
                    }
                    drop(ended);
                    worker
                })
            })
            .collect();
        drop((taken, spent, ended));
        while end.recv_timeout(WATCH) == Err(mpsc::RecvTimeoutError::Timeout) {
            watch(progress);
        }
        let files = reader.join().unwrap_or_else(|panic| resume_unwind(panic));
        let workers = workers.into_iter().map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)));
        (files, workers.collect())
    })
}

fn read_all(
    job: &Job,
    names: &Names,
    blocks: &mpsc::SyncSender<Block>,
    room: &mpsc::Receiver<Vec<u8>>,
    progress: &Progress,
) -> Vec<FileReport> {
    let read = |(number, input): (usize, &Input)| {
        let mut reading = Reading::default();
        let detect = |start: &[u8]| match &job.format {
            Some(format) => Some(format.clone()),
            None => Format::detect(start, &|host| names.knows(host))
                .filter(|format| job.must_be.is_none_or(|name| format.to_string() == name)),
        };
        let result = input.open(&progress.read).and_then(|source| {
            let room = || room.try_recv().unwrap_or_default();
            read_blocks(number, source, detect, room, |block| blocks.send(block).is_ok(), &mut reading)
        });
        let fault = match result {
            Err(error) => Some(error.to_string()),
            Ok(()) if reading.format.is_none() && !reading.is_empty => Some(UNKNOWN_FORMAT.to_owned()),
            Ok(()) => None,
        };
        FileReport {
            path: String::new(),
            format: reading.format.map(|format| format.to_string()),
            host: None,
            lines: reading.lines,
            too_long: reading.too_long,
            fault,
        }
    };
    job.inputs.iter().enumerate().map(read).collect()
}

const UNKNOWN_FORMAT: &str = "its first lines are in no format that is known here: say `--format`, or `--nginx-format` with the text of its log_format";

/// How often progress is told.
const WATCH: Duration = Duration::from_millis(200);

/// The files below paths, as [`Input::of`] has them.
///
/// # Errors
/// The path that can't be read, and why.
pub fn inputs(paths: &[PathBuf]) -> Result<Vec<Input>, (PathBuf, std::io::Error)> {
    let mut inputs = Vec::new();
    for path in paths {
        inputs.extend(Input::of(path).map_err(|error| (path.clone(), error))?);
    }
    Ok(inputs)
}
