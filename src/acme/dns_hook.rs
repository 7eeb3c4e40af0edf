//! The operator's command that publishes DNS records for `dns-01`.

use std::{process::Stdio, time::Duration};

use tokio::{io::AsyncReadExt, process::Command, time::timeout};

use super::fault::plain;
use crate::tls::PASSPHRASE_VARIABLE;

/// What is done with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// It is published, beside others of its name.
    Add,
    /// It is taken away.
    Remove,
}

/// Runs the hook for the record `name` with the TXT `value`.
///
/// # Errors
/// If it can't be run, fails, or takes too long: why, in words.
pub(super) async fn run(hook: &[String], act: Act, name: &str, value: &str) -> Result<(), String> {
    run_within(hook, act, name, value, TIME).await
}

async fn run_within(hook: &[String], act: Act, name: &str, value: &str, time: Duration) -> Result<(), String> {
    let Some((program, first)) = hook.split_first() else { return Err("there is no dns-hook".to_owned()) };
    let word = if act == Act::Add { "add" } else { "remove" };
    let what = format!("{program} {word} {name}");
    let mut command = Command::new(program);
    command.args(first).args([word, name, value]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    // What locks our keys is not the hook's business.
    command.env_remove(PASSPHRASE_VARIABLE);
    let mut child = command.kill_on_drop(true).spawn().map_err(|error| format!("{what}: {error}"))?;
    let mut stderr = child.stderr.take();
    let told = async {
        let (mut end, mut part) = (Vec::new(), [0; 4096]);
        while let Some(stderr) = &mut stderr
            && let Ok(count @ 1..) = stderr.read(&mut part).await
        {
            end.extend_from_slice(&part[..count]);
            end.drain(..end.len().saturating_sub(MAX_TOLD));
        }
        end
    };
    // What it leaves running may hold the pipe: then only its own end is waited for.
    let ended = timeout(time, async {
        tokio::pin!(told);
        tokio::select! {
            end = &mut told => (child.wait().await, end),
            status = child.wait() => (status, timeout(LINGER, &mut told).await.unwrap_or_default()),
        }
    });
    match ended.await {
        Err(_) => Err(format!("{what}: it did not end within {} seconds", time.as_secs())),
        Ok((Err(error), _)) => Err(format!("{what}: {error}")),
        Ok((Ok(status), _)) if status.success() => Ok(()),
        Ok((Ok(status), end)) => {
            let end = plain(&String::from_utf8_lossy(&end));
            Err(if end.is_empty() { format!("{what}: {status}") } else { format!("{what}: {status}: {end}") })
        }
    }
}

/// The TXT record that proves `name` (RFC 8555, 8.4).
pub(super) fn record_of(name: &str) -> String {
    format!("_acme-challenge.{}", name.strip_prefix("*.").unwrap_or(name))
}

/// How long it may take.
const TIME: Duration = Duration::from_secs(300);

/// How long its last words are waited for once it has ended.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes of its last words that are kept.
const MAX_TOLD: usize = 480;

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script, "hook"].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn a_hook_is_told_what_to_do_and_heard_when_it_fails() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let script = format!("echo \"$@\" >> {}", out.display());
        run(&sh(&script), Act::Add, &record_of("*.a.example"), "v$(id)").await.unwrap();
        run(&sh(&script), Act::Remove, "_acme-challenge.a.example", "v").await.unwrap();
        let told = std::fs::read_to_string(&out).unwrap();
        assert_eq!(told, "add _acme-challenge.a.example v$(id)\nremove _acme-challenge.a.example v\n");

        let why = run(&sh("echo no such zone >&2; exit 3"), Act::Add, "r", "v").await.unwrap_err();
        assert!(why.contains("no such zone") && why.contains('3'), "{why}");
        let why = run(&["/no/such/program".to_owned()], Act::Add, "r", "v").await.unwrap_err();
        assert!(why.contains("/no/such/program"), "{why}");
        assert!(run(&[], Act::Add, "r", "v").await.is_err());
    }

    #[tokio::test]
    async fn a_hook_that_hangs_or_floods_is_ended() {
        let time = Duration::from_millis(200);
        let why = run_within(&sh("exec sleep 600"), Act::Add, "r", "v", time).await.unwrap_err();
        assert!(why.contains("did not end"), "{why}");
        let why =
            run(&sh("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo last >&2; exit 1"), Act::Add, "r", "v").await;
        let why = why.unwrap_err();
        assert!(why.len() < 1500, "{}", why.len());
        // What it leaves behind holds the pipe, and is not waited for.
        run(&sh("sleep 3 & exit 0"), Act::Add, "r", "v").await.unwrap();
    }
}
