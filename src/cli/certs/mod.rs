//! `waypost certs`: the certificates, and what is done to have them.

use std::{collections::HashMap, process::ExitCode};

use anyhow::Context;
use clap::Subcommand;
use jiff::{Timestamp, tz::TimeZone};

use super::{NodeArgs, load};
use crate::acme::{self, Ledger, Unwanted, Wanted};
use crate::config::{Gateway, Severity};
use crate::routing::Snapshot;
use crate::tls::{CertInfo, Inventory};

mod doctor;
mod import;
mod list;
mod order;
mod plan;

/// The certificates of this node, or of its fleet.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Command {
    /// Show every certificate: its names, its file, when it ends and what is wrong with it.
    List {
        /// Only those that cover this host.
        host: Option<String>,
        #[command(flatten)]
        node: NodeArgs,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show which certificates would be ordered, and when: how many it takes, and how many days.
    ///
    /// Nothing is ordered and nobody is asked. The plan is what `issue` and the gateway follow if every name is proven at
    /// once; names that are not are left out and tried again later. Works before [acme] names an authority.
    Plan {
        #[command(flatten)]
        node: NodeArgs,
        /// Show the names of each certificate.
        #[arg(long)]
        names: bool,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Order certificates now: for all hosts that have none, or for these.
    ///
    /// Does at once what the running gateway does in its time, by the same ledger and limits; while the gateway orders, it
    /// says so and ends. Hosts that are named are tried even if they failed a while ago. The challenges are answered by
    /// the running gateways. Exit code 1 if a host is left without a certificate.
    Issue {
        /// Hosts; a wildcard as '*.old.example'.
        hosts: Vec<String>,
        #[command(flatten)]
        node: NodeArgs,
        /// Print as JSON what came of it.
        #[arg(long)]
        json: bool,
    },
    /// Renew certificates of the authority now: those that are due, or those of these hosts.
    Renew {
        /// Hosts whose certificates are renewed, due or not.
        hosts: Vec<String>,
        /// All of them, due or not, as far as the limits allow.
        #[arg(long, conflicts_with = "hosts")]
        all: bool,
        #[command(flatten)]
        node: NodeArgs,
        /// Print as JSON what came of it.
        #[arg(long)]
        json: bool,
    },
    /// Have the authority revoke a certificate of its own, and order another in its place.
    Revoke {
        /// A host that it covers, its file below the folder of certificates, or its SHA-256 in hex.
        which: String,
        /// Why.
        #[arg(long, value_enum)]
        reason: order::Reason,
        #[command(flatten)]
        node: NodeArgs,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Say of each host that has no good certificate why, and what to do. Exit code 1 if there is any.
    Doctor {
        /// Of this host only.
        host: Option<String>,
        #[command(flatten)]
        how: doctor::How,
        #[command(flatten)]
        node: NodeArgs,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Put a chain and its key into the folder of certificates, once they are seen to be good.
    ///
    /// Both are checked first: that they belong together, which names they have, whether they are valid now. The gateway puts
    /// them to use within a second.
    Import {
        /// The chain (PEM), the server's certificate and those that signed it; the key may stand in it, too.
        chain: std::path::PathBuf,
        /// The key (PEM).
        key: Option<std::path::PathBuf>,
        /// Name of the file that is made, without `.pem`; the first host of the certificate where absent.
        #[arg(long)]
        name: Option<String>,
        #[command(flatten)]
        node: NodeArgs,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs one.
pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List { host, node, json } => list::run(&node, host.as_deref(), json),
        Command::Plan { node, names, json } => plan::run(&node, names, json),
        Command::Issue { hosts, node, json } => order::issue(&node, &hosts, json),
        Command::Renew { hosts, all, node, json } => order::renew(&node, &hosts, all, json),
        Command::Revoke { which, reason, node, json } => order::revoke(&node, &which, reason, json),
        Command::Doctor { host, how, node, json } => doctor::run(&node, host.as_deref(), &how, json),
        Command::Import { chain, key, name, node, json } => {
            import::run(&node, &chain, key.as_deref(), name.as_deref(), json)
        }
    }
}

/// What is there, what is wanted, and what happened.
struct View {
    gateway: Gateway,
    snapshot: Snapshot,
    inventory: Inventory,
    ledger: Ledger,
    wanted: Vec<Wanted>,
    unwanted: Vec<Unwanted>,
    now: i64,
}

impl View {
    fn open(node: &NodeArgs) -> anyhow::Result<Self> {
        let (gateway, faults) = load::gateway(node)?;
        if let Some(fault) = faults.iter().find(|fault| fault.severity == Severity::Error) {
            anyhow::bail!("{fault}\n`waypost check` says all that is wrong");
        }
        let now = load::now();
        let snapshot = load::routes(&gateway, now)?.snapshot;
        let inventory = crate::tls::inventory(&gateway)
            .with_context(|| format!("can't read the certificates in {}", gateway.certs.display()))?;
        let ledger = acme::read_ledger(&gateway)?;
        let covered = acme::covered(inventory.own_names(now));
        let (wanted, unwanted) = acme::wanted(snapshot.sites(), &gateway.acme, covered, now);
        Ok(View { gateway, snapshot, inventory, ledger, wanted, unwanted, now })
    }

    /// For each host of the routes, in their order: the certificate that clients get, if one is valid.
    fn served(&self) -> HashMap<String, &CertInfo> {
        let mut best: HashMap<String, &CertInfo> = HashMap::new();
        let valid: Vec<&CertInfo> =
            self.inventory.certificates.iter().filter(|info| info.is_valid_at(self.now)).collect();
        let mut names: HashMap<&str, &CertInfo> = HashMap::new();
        for info in &valid {
            for name in &info.names {
                let known = names.entry(name).or_insert(info);
                if (known.is_acme, -known.not_after) > (info.is_acme, -info.not_after) {
                    *known = info;
                }
            }
        }
        for host in self.snapshot.sites().iter().flat_map(|site| &site.hosts) {
            let host = host.to_string();
            let wildcard = host.split_once('.').map(|(_, rest)| format!("*.{rest}"));
            let exact = names.get(host.as_str());
            let found = exact.or_else(|| wildcard.as_ref().and_then(|wildcard| names.get(wildcard.as_str())));
            if let Some(info) = found {
                best.insert(host, info);
            }
        }
        best
    }
}

/// A moment for people, to the minute, in the zone of this machine.
fn moment(at: i64) -> String {
    Timestamp::from_second(at)
        .map(|at| at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string())
        .unwrap_or_else(|_| at.to_string())
}

/// Whole days from now until then.
fn days(now: i64, then: i64) -> i64 {
    then.saturating_sub(now).div_euclid(86_400)
}
