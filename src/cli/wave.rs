//! `waypost wave`: when the sites of a wave move.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::apply::{Consent, Wish, apply, roll_back};
use super::output::{count, print};
use super::status::{day, group_json, groups, table};
use super::{NodeArgs, load};
use crate::census::wave_number;
use crate::config::Site;
use crate::edits::Changes;
use crate::model::{Disposition, Phase};
use crate::waves::{When, plan, status};

/// Which wave, and what of it.
#[derive(Clone, Debug, Args)]
pub(super) struct WaveArgs {
    /// The wave, as `wave` in the site files has it: `2` (or 第二批). All waves where absent.
    #[arg(value_name = "NAME", value_parser = wave_number)]
    wave: Option<u16>,
    /// The phase that begins.
    #[arg(long, value_enum, requires_all = ["wave", "at"])]
    phase: Option<WavePhase>,
    /// When it begins: a date (local midnight, 2026-03-01) or a moment (2026-03-01T08:00:00+08:00).
    #[arg(long, value_name = "DATE", value_parser = When::parse, requires = "phase")]
    at: Option<When>,
    /// When the phase `notice` begins, beside `--phase redirect`.
    #[arg(long, value_name = "DATE", value_parser = When::parse, requires = "phase")]
    notice: Option<When>,
    /// Take the wave's last change back: every file is as it was before, byte for byte. Once more takes the one before back.
    #[arg(long, requires = "wave", conflicts_with_all = ["phase", "at", "notice"])]
    rollback: bool,
    /// With --rollback: also in files that somebody has edited since, whose edits are lost then.
    #[arg(long, requires = "rollback")]
    force: bool,
    #[command(flatten)]
    consent: Consent,
    #[arg(long, hide = true, value_name = "DATE", value_parser = crate::config::parse_date)]
    date: Option<i64>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum WavePhase {
    /// The old origin answers, through the gateway.
    Proxy,
    /// A page says where things went, then goes there.
    Notice,
    /// Old URLs are redirected.
    Redirect,
    /// Every URL is gone (410), with a link to the archive's copy.
    Archive,
    /// The domain is safe to deregister.
    Retired,
}

/// Lists waves, shows one, or changes its dates.
pub(super) fn run(node: &NodeArgs, args: &WaveArgs) -> anyhow::Result<ExitCode> {
    let (gateway, _) = load::gateway(node)?;
    let now = args.date.unwrap_or_else(load::now);
    if let (Some(wave), true) = (args.wave, args.rollback) {
        return roll_back(&gateway, &scope(wave), args.force, args.consent);
    }
    let routes = load::routes(&gateway, now)?;
    let sites: Vec<&Site> = routes.loader.checked_sites().collect();
    let (Some(wave), Some(phase), Some(at)) = (args.wave, args.phase, &args.at) else {
        return show(&sites, args, now);
    };
    let mut dates = vec![(Phase::ALL[phase as usize], at.clone())];
    dates.extend(args.notice.clone().map(|notice| (Phase::Notice, notice)));
    dates.sort_by_key(|(phase, _)| *phase);
    let mut changes = Changes::new(&gateway.routes);
    let planned = plan(sites, wave, &dates, &mut changes)?;
    let said: Vec<String> = dates.iter().map(|(phase, when)| format!("{phase} on {}", when.as_str())).collect();
    let what = format!("wave {wave}: {}, {}", said.join(", "), count(planned, "site"));
    let wish = Wish {
        scope: &scope(wave),
        what: &what,
        changes: &changes,
        tolerates: |_| false,
        now,
        more: json!({ "wave": wave, "sites": planned }),
        rollback: &format!("waypost wave {wave} --rollback"),
        found: false,
    };
    apply(&gateway, wish, args.consent)
}

fn scope(wave: u16) -> String {
    format!("wave {wave}")
}

fn show(sites: &[&Site], args: &WaveArgs, now: i64) -> anyhow::Result<ExitCode> {
    let found = status(sites.iter().copied(), &[], now, 0);
    let of_wave = |wave| found.waves.iter().filter(move |group| wave == group.of || args.wave.is_none());
    let chosen: Vec<_> = of_wave(args.wave).cloned().collect();
    if args.consent.json() {
        let waves: Vec<Value> = chosen.iter().map(|group| group_json("wave", group)).collect();
        return print(&format!("{}\n", serde_json::to_string_pretty(&waves)?));
    }
    let mut text = groups("WAVE", &chosen, |wave| wave.to_string());
    if let Some(wave) = args.wave {
        anyhow::ensure!(!chosen.is_empty(), "no site has wave = {wave}");
        let row = |site: &&Site| {
            let starts = site.lifecycle.starts().iter().filter(|_| site.disposition == Disposition::Close);
            let starts: Vec<String> = starts.map(|(at, phase)| format!("{phase} {}", day(*at))).collect();
            let phase = match site.disposition {
                Disposition::Close => site.lifecycle.at(now).name(),
                stays => stays.name(),
            };
            vec![site.id.clone(), phase.to_owned(), starts.join(", "), site.name.clone()]
        };
        let rows = sites.iter().filter(|site| site.wave == Some(wave)).map(row).collect();
        text += &table(&["SITE", "PHASE", "DATES", "NAME"], rows);
    }
    print(&text)
}
