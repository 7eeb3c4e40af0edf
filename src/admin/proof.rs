//! Whether a token is good: what the file of tokens says, compared slowly once and quickly from then on.
//!
//! Owns: the tokens as they were read last, and which of them have been shown. Never does: HTTP.
//!
//! Invariants: the file is read for each token that is offered, so that who is taken out of it is out at once; where it
//! can't be used, nobody gets in; a slow comparison runs beside the event loop, one at a time, for who has attempts
//! left; a token that is remembered is so as a keyed hash; all comparisons take constant time.

use std::{
    collections::HashMap,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use aws_lc_rs::{
    hmac::{self, HMAC_SHA256},
    rand::SystemRandom,
};
use tokio::{sync::Semaphore, time::timeout};

use super::attempts::Attempts;
use super::refusal::Refusal;
use super::tokens::{self, Line, Role, TokensError};

/// Compares tokens.
#[derive(Debug)]
pub(super) struct Proof {
    path: PathBuf,
    key: hmac::Key,
    state: Mutex<State>,
    attempts: Attempts,
    comparing: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct State {
    text: String,
    known: HashMap<String, Known>,
    /// What has been told on the log, so that it is told once.
    told: Option<String>,
}

#[derive(Debug)]
struct Known {
    role: Role,
    hash: String,
    /// The keyed hash of the token, once it has been shown.
    shown: Option<hmac::Tag>,
}

impl Proof {
    /// By the tokens of that file.
    ///
    /// # Errors
    /// If it can't be used, or no line of it.
    pub fn open(path: PathBuf) -> Result<Self, TokensError> {
        let text = tokens::read_text(&path)?;
        let key = hmac::Key::generate(HMAC_SHA256, &SystemRandom::new());
        let random =
            |_| TokensError::Unusable { path: path.clone(), reason: std::io::Error::other("no random numbers") };
        let proof = Proof {
            key: key.map_err(random)?,
            state: Mutex::default(),
            attempts: Attempts::new(Instant::now()),
            comparing: Arc::new(Semaphore::new(1)),
            path,
        };
        let (lines, faults) = tokens::parse(&proof.path, &text);
        match faults.into_iter().next() {
            Some(fault) if lines.is_empty() => Err(fault),
            None if lines.is_empty() => Err(TokensError::Empty(proof.path)),
            _ => {
                proof.refresh(text);
                Ok(proof)
            }
        }
    }

    /// Whose token it is, and what it is good for.
    ///
    /// # Errors
    /// Why it is not.
    pub async fn check(&self, token: &str, client: Option<IpAddr>) -> Result<(String, Role), Refusal> {
        let name = tokens::name_of(token).ok_or(Refusal::BadToken)?;
        self.reread()?;
        if let Some(known) = self.recall(name, token) {
            return known;
        }
        self.attempts.take(client, Instant::now()).map_err(Refusal::TooManyAttempts)?;
        let permit = timeout(PATIENCE, self.comparing.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| Refusal::Busy)?.map_err(|_| Refusal::Busy)?;
        // Another request may have brought it meanwhile.
        if let Some(known) = self.recall(name, token) {
            self.attempts.give_back(client);
            return known;
        }
        let hash = self.with(|state| state.known.get(name).map(|known| known.hash.clone())).ok_or(Refusal::BadToken)?;
        let (offered, compared) = (token.to_owned(), hash.clone());
        let is_good = tokio::task::spawn_blocking(move || {
            let is_good = tokens::is_token_of(&offered, &compared);
            // Not before it is done, even if the caller has gone.
            drop(permit);
            is_good
        });
        if !is_good.await.unwrap_or(false) {
            return Err(Refusal::BadToken);
        }
        self.attempts.give_back(client);
        let tag = hmac::sign(&self.key, token.as_bytes());
        // Unless the line is another one by now.
        let role = self.with(|state| {
            let known = state.known.get_mut(name).filter(|known| known.hash == hash)?;
            known.shown = Some(tag);
            Some(known.role)
        });
        role.map(|role| (name.to_owned(), role)).ok_or(Refusal::BadToken)
    }

    /// What is known of the token without a slow comparison. Once the token of a line has been shown, any other is a
    /// wrong one.
    fn recall(&self, name: &str, token: &str) -> Option<Result<(String, Role), Refusal>> {
        self.with(|state| {
            let Some(known) = state.known.get(name) else { return Some(Err(Refusal::BadToken)) };
            let tag = known.shown.as_ref()?;
            let verified = hmac::verify(&self.key, token.as_bytes(), tag.as_ref());
            Some(verified.map(|()| (name.to_owned(), known.role)).map_err(|_| Refusal::BadToken))
        })
    }

    /// Reads the file again.
    fn reread(&self) -> Result<(), Refusal> {
        match tokens::read_text(&self.path) {
            Ok(text) => {
                self.refresh(text);
                Ok(())
            }
            Err(error) => {
                let error = error.to_string();
                self.with(|state| {
                    if state.told.as_ref() != Some(&error) {
                        log::error!("nobody is let in at the admin address: {error}");
                        state.told = Some(error);
                    }
                });
                Err(Refusal::NoTokens)
            }
        }
    }

    /// Takes over what the file says. Tokens whose lines are as they were need not be compared again.
    fn refresh(&self, text: String) {
        self.with(|state| {
            if state.told.take().is_some() {
                log::info!("{} can be used again", self.path.display());
            }
            if state.text == text {
                return;
            }
            let (lines, faults) = tokens::parse(&self.path, &text);
            faults.iter().for_each(|fault| log::error!("admin tokens: {fault}"));
            log::info!("admin tokens: {} in {}", lines.len(), self.path.display());
            let mut before = std::mem::take(&mut state.known);
            for Line { name, role, hash } in lines {
                let shown = before.remove(&name).filter(|known| known.hash == hash).and_then(|known| known.shown);
                state.known.insert(name, Known { role, hash, shown });
            }
            state.text = text;
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// How long a token may wait for those before it.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }

    #[test]
    fn a_token_is_compared_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let ops = tokens::add(&path, "ops", Role::Change).unwrap();
        let proof = Proof::open(path.clone()).unwrap();
        block_on(async {
            let wrong = format!("{}x", &ops[..ops.len() - 1]);
            assert_eq!(proof.check(&wrong, None).await, Err(Refusal::BadToken));
            assert_eq!(proof.check("waypost.you.secret", None).await, Err(Refusal::BadToken));
            assert_eq!(proof.check("secret", None).await, Err(Refusal::BadToken));
            assert_eq!(proof.check(&ops, None).await, Ok(("ops".to_owned(), Role::Change)));
            // From here on nothing is compared slowly: as if another were at it for ever.
            let busy = proof.comparing.clone().acquire_owned().await.unwrap();
            for _ in 0..100 {
                assert_eq!(proof.check(&ops, None).await, Ok(("ops".to_owned(), Role::Change)));
                assert_eq!(proof.check(&wrong, None).await, Err(Refusal::BadToken));
            }
            drop(busy);
        });
    }

    #[test]
    fn what_the_file_says_holds_from_the_next_request_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let ops = tokens::add(&path, "ops", Role::Change).unwrap();
        let proof = Proof::open(path.clone()).unwrap();
        let check = |token: &str| block_on(proof.check(token, None));
        assert!(check(&ops).is_ok());
        let probe = tokens::add(&path, "probe", Role::Read).unwrap();
        assert_eq!(check(&probe).unwrap().1, Role::Read);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("ops:change", "ops:read")).unwrap();
        assert_eq!(check(&ops).unwrap().1, Role::Read, "less than before");
        tokens::remove(&path, "ops").unwrap();
        assert_eq!(check(&ops), Err(Refusal::BadToken));
        let again = tokens::add(&path, "ops", Role::Change).unwrap();
        assert_eq!(check(&ops), Err(Refusal::BadToken), "not the old one under the same name");
        assert!(check(&again).is_ok());
        fs::remove_file(&path).unwrap();
        assert_eq!(check(&again), Err(Refusal::NoTokens));
    }

    #[test]
    fn guessing_is_slowed_down_and_others_get_in() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let ops = tokens::add(&path, "ops", Role::Change).unwrap();
        let proof = Proof::open(path).unwrap();
        let (bad, good) = (Some(IpAddr::from([192, 0, 2, 1])), Some(IpAddr::from([192, 0, 2, 2])));
        block_on(async {
            let mut refused = 0;
            for number in 0..20 {
                match proof.check(&format!("waypost.ops.{number}"), bad).await {
                    Err(Refusal::BadToken) => {}
                    Err(Refusal::TooManyAttempts(_)) => refused += 1,
                    other => panic!("{other:?}"),
                }
            }
            assert!((8..=10).contains(&refused), "{refused}");
            assert!(proof.check(&ops, good).await.is_ok());
            assert!(proof.check(&ops, bad).await.is_ok(), "what is known costs no attempt");
        });
    }

    #[test]
    fn a_file_without_tokens_opens_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        tokens::add(&path, "ops", Role::Change).unwrap();
        fs::write(&path, "# nobody\n").unwrap();
        assert!(Proof::open(path.clone()).is_err());
        fs::write(&path, "ops:change:secret\n").unwrap();
        assert!(matches!(Proof::open(path), Err(TokensError::Line { line: 1, .. })));
    }
}
