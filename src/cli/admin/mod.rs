//! `waypost admin`: who may use the admin address.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, anyhow, bail};
use clap::{Subcommand, builder::PossibleValuesParser, builder::TypedValueParser};
use serde_json::{Value, json};

use super::output::print;
use super::{NodeArgs, load};
use crate::admin::{
    audit::{AuditLog, Author, Change, ChangeError},
    tokens::{self, Role},
};
use crate::config::{Gateway, Severity};

pub(super) mod client;

/// Who may use the admin address.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum Command {
    /// Make a token and print it, this once: the file keeps a hash of it only.
    ///
    /// The file is `[admin]` tokens of gateway.toml. Run this as the user that the gateway runs as, or the file is not the
    /// gateway's own. The token holds from the next request on.
    Token {
        /// Whose it is: letters, digits, `-` and `_`. The audit log says it.
        name: String,
        /// What it is good for: `read` (probes and metrics) or `change` (everything).
        #[arg(long, default_value = "read", value_parser = PossibleValuesParser::new(["read", "change"]).try_map(|word| word.parse::<Role>()))]
        role: Role,
        #[command(flatten)]
        node: NodeArgs,
    },
    /// Take a token away; it is no good from the next request on.
    Revoke {
        /// Whose.
        name: String,
        #[command(flatten)]
        node: NodeArgs,
    },
}

/// Runs one.
pub(super) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Token { name, role, node } => {
            let gateway = settings(&node)?;
            let file = file(&gateway)?;
            let after = json!({ "name": name, "role": role.name() });
            let token = change(&gateway, &name, Value::Null, || {
                let token = tokens::add(&file, &name, role).map_err(|error| error.to_string())?;
                Ok((token, after))
            })?;
            eprintln!(
                "This is the token of {name} ({role}). It is shown this once; {} has a hash of it.",
                file.display()
            );
            print(&format!("{token}\n"))
        }
        Command::Revoke { name, node } => {
            let gateway = settings(&node)?;
            let file = file(&gateway)?;
            let (lines, _) = tokens::read(&file)?;
            let line = lines.into_iter().find(|line| line.name == name);
            let line = line.with_context(|| tokens::TokensError::Unknown(name.clone()).to_string())?;
            let before = json!({ "name": name, "role": line.role.name() });
            change(&gateway, &name, before, || {
                tokens::remove(&file, &name).map_err(|error| error.to_string())?;
                Ok(((), Value::Null))
            })?;
            print(&format!("{name} has no token any more\n"))
        }
    }
}

/// What gateway.toml says; not where it might have meant something else.
fn settings(node: &NodeArgs) -> anyhow::Result<Gateway> {
    let (gateway, faults) = load::gateway(node)?;
    if faults.iter().any(|fault| fault.severity == Severity::Error) {
        faults.iter().for_each(|fault| eprintln!("{fault}"));
        bail!("gateway.toml has errors");
    }
    Ok(gateway)
}

fn file(gateway: &Gateway) -> anyhow::Result<PathBuf> {
    let missing = "gateway.toml names no file of tokens: write `tokens = \"admin.tokens\"` under [admin]";
    gateway.admin_settings.tokens.clone().context(missing)
}

/// Changes the file of tokens, by way of the audit log.
fn change<T>(
    gateway: &Gateway,
    name: &str,
    before: Value,
    apply: impl FnOnce() -> Result<(T, Value), String>,
) -> anyhow::Result<T> {
    let user = rustix::process::getuid().as_raw();
    let author = Author { who: format!("user {user}"), from: "command line".to_owned() };
    let audit = AuditLog::new(&gateway.admin_settings.audit);
    let outcome = audit.change(&author, Change { what: "token", on: name.to_owned(), before }, apply);
    outcome.map_err(|error| match error {
        ChangeError::Failed(why) => anyhow!(why),
        error => anyhow!(error),
    })
}
