//! The file of tokens: who may use the admin address, and what they may do.
//!
//! A line is `NAME:ROLE:HASH`. The token is `waypost.NAME.SECRET`; the hash is argon2id of all of it (PHC string format),
//! so the file is of no use to whoever reads it. A token names its line, so that a guess costs one computation at most.
//!
//! Owns: the format, and what may be in the file. Never does: comparing (see `proof`), HTTP.
//!
//! Called by: `proof`, `cli` ([`add`], [`remove`]), `server` by way of [`super::Admin::open`].

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    str::FromStr,
};

use argon2::{
    ARGON2ID_IDENT, Argon2,
    password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString},
};
use aws_lc_rs::rand;

use super::audit::hex;
use crate::config::{Diagnostic, SourceFile};

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Ask how the gateway is: probes and metrics.
    Read,
    /// Change things, too.
    Change,
}

/// A line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Whose token it is.
    pub name: String,
    /// What it is good for.
    pub role: Role,
    /// Of the whole token.
    pub hash: String,
}

/// Why the tokens can't be had or changed. The file is at fault, or what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// There is none.
    #[error("there is no file of tokens at {}: `waypost admin token NAME` makes it", .0.display())]
    Missing(PathBuf),
    /// It lets nobody in.
    #[error("there is no token in {}: `waypost admin token NAME` makes one", .0.display())]
    Empty(PathBuf),
    /// The system says so.
    #[error("the file of tokens {} can't be used: {reason}", .path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// Others can read it.
    #[error("the file of tokens {} is open to others (mode {mode:o}): `chmod 600` it", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// Others can replace it.
    #[error("the file of tokens {} belongs to user {owner}, not to us or root: `chown` it", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
    /// A line can't be understood.
    #[error("{}:{line}: {fault}", .path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1 on.
        line: usize,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// It would be ambiguous, or can't be written.
    #[error("`{0}` is no name of a token: up to 64 letters, digits, `-` and `_`")]
    BadName(String),
    /// There is one already.
    #[error("`{0}` has a token already: `waypost admin revoke {0}` takes it away")]
    Taken(String),
    /// There is none of that name.
    #[error("nobody of the name `{0}` has a token")]
    Unknown(String),
}

impl Role {
    /// The word in the file.
    pub fn name(self) -> &'static str {
        match self {
            Role::Read => "read",
            Role::Change => "change",
        }
    }
}

impl FromStr for Role {
    type Err = &'static str;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        let known = [Role::Read, Role::Change].into_iter().find(|role| role.name() == word);
        known.ok_or("a role is `read` or `change`")
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Reads the file, if nobody else can. Lines that can't be understood let nobody in; they are listed.
///
/// # Errors
/// If the file can't be read, or others can read or replace it.
pub fn read(path: &Path) -> Result<(Vec<Line>, Vec<TokensError>), TokensError> {
    Ok(parse(path, &read_text(path)?))
}

/// What is wrong with the file, for `waypost check`. No finding shows a line: there is a hash in it.
pub fn check(path: &Path) -> Vec<Diagnostic> {
    let name = path.display().to_string();
    let faults = match read(path) {
        Ok((lines, faults)) if lines.is_empty() && faults.is_empty() => vec![TokensError::Empty(path.to_owned())],
        Ok((_, faults)) => faults,
        Err(error) => vec![error],
    };
    let finding = |error: TokensError| match error {
        TokensError::Line { line, fault, .. } => {
            let blank = SourceFile::new(name.as_str(), "\n".repeat(line));
            blank.error("bad-token", line - 1..line - 1, fault).hint("`waypost admin token NAME` writes such lines")
        }
        error => SourceFile::new(name.as_str(), "").error("unreadable", 0..0, error.to_string()),
    };
    faults.into_iter().map(finding).collect()
}

/// As [`read`], before anything is made of it.
pub(super) fn read_text(path: &Path) -> Result<String, TokensError> {
    let unusable = |reason| TokensError::Unusable { path: path.to_owned(), reason };
    let file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => TokensError::Missing(path.to_owned()),
        _ => unusable(error),
    })?;
    check_access(path, &file)?;
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(unusable)?;
    match text.len() as u64 {
        0..=MAX_FILE => Ok(text),
        _ => Err(unusable(io::Error::other(format!("it is larger than {} KiB", MAX_FILE >> 10)))),
    }
}

/// What its lines say, and what is wrong with the others. Empty lines and those that begin with `#` say nothing.
pub(super) fn parse(path: &Path, text: &str) -> (Vec<Line>, Vec<TokensError>) {
    let (mut lines, mut faults): (Vec<Line>, Vec<TokensError>) = (Vec::new(), Vec::new());
    for (number, text) in (1..).zip(text.lines()) {
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        match parse_line(text) {
            Ok(line) if lines.iter().any(|known| known.name == line.name) => {
                faults.push(TokensError::Line {
                    path: path.to_owned(),
                    line: number,
                    fault: "this name is there twice",
                });
            }
            Ok(line) => lines.push(line),
            Err(fault) => faults.push(TokensError::Line { path: path.to_owned(), line: number, fault }),
        }
    }
    (lines, faults)
}

fn parse_line(text: &str) -> Result<Line, &'static str> {
    let (name, rest) = text.split_once(':').ok_or("a line is NAME:ROLE:HASH")?;
    // Without a role, the lesser.
    let (role, hash) = match rest.split_once(':') {
        Some((role, hash)) => (role.parse()?, hash),
        None => (Role::Read, rest),
    };
    if !is_name(name) {
        return Err("the name has other characters than letters, digits, `-` and `_`, or more than 64");
    }
    let parsed = PasswordHash::new(hash).map_err(|_| "this is no hash in the PHC string format")?;
    if parsed.algorithm != ARGON2ID_IDENT || parsed.hash.is_none() {
        return Err("this is no hash by argon2id");
    }
    let cost = argon2::Params::try_from(&parsed).map_err(|_| "the parameters of the hash can't be used")?;
    if cost.m_cost() > MAX_MEMORY || cost.t_cost() > MAX_PASSES {
        return Err("the hash takes more than 1 GiB or 100 passes to compare");
    }
    Ok(Line { name: name.to_owned(), role, hash: hash.to_owned() })
}

/// Whether `token` is the one that `hash` was made of. Slow by design.
pub(super) fn is_token_of(token: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(token.as_bytes(), &hash).is_ok())
}

/// The name in a token.
pub(super) fn name_of(token: &str) -> Option<&str> {
    let (name, secret) = token.strip_prefix(PREFIX)?.split_once('.')?;
    (is_name(name) && !secret.is_empty()).then_some(name)
}

/// Makes a token and adds its line; the token is nowhere but in what is returned. The file is made where it is missing.
///
/// # Errors
/// If the name can't be had, or the file can't be used.
pub fn add(path: &Path, name: &str, role: Role) -> Result<String, TokensError> {
    if !is_name(name) {
        return Err(TokensError::BadName(name.to_owned()));
    }
    let unusable = |reason| TokensError::Unusable { path: path.to_owned(), reason };
    let mut options = File::options();
    let file = options.read(true).append(true).create(true).mode(0o600).open(path).map_err(unusable)?;
    file.lock().map_err(unusable)?;
    let text = read_text(path)?;
    if parse(path, &text).0.iter().any(|line| line.name == name) {
        return Err(TokensError::Taken(name.to_owned()));
    }
    let (token, hash) = make(name).map_err(unusable)?;
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let mut file = file;
    file.write_all(format!("{end}{name}:{role}:{hash}\n").as_bytes()).map_err(unusable)?;
    file.sync_all().map_err(unusable)?;
    Ok(token)
}

/// Takes the token of that name away. Returns what it was good for.
///
/// # Errors
/// If there is none, or the file can't be used.
pub fn remove(path: &Path, name: &str) -> Result<Role, TokensError> {
    let unusable = |reason| TokensError::Unusable { path: path.to_owned(), reason };
    // The file itself, which may be known by a link.
    let path = &path.canonicalize().map_err(|_| TokensError::Missing(path.to_owned()))?;
    let file = File::options().append(true).open(path).map_err(unusable)?;
    file.lock().map_err(unusable)?;
    let text = read_text(path)?;
    let is_of_name = |line: &&str| parse_line(line.trim()).is_ok_and(|line| line.name == name);
    let role = text.lines().find(is_of_name).and_then(|line| Some(parse_line(line.trim()).ok()?.role));
    let role = role.ok_or_else(|| TokensError::Unknown(name.to_owned()))?;
    let rest: String = text.lines().filter(|line| !is_of_name(line)).map(|line| format!("{line}\n")).collect();
    replace(path, &file, &rest).map_err(unusable)?;
    Ok(role)
}

/// Puts a file of the same owner in the place of one, as a whole.
fn replace(path: &Path, old: &File, text: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let owner = old.metadata()?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    std::os::unix::fs::fchown(&file, Some(owner.uid()), Some(owner.gid()))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// A new token and its hash.
fn make(name: &str) -> io::Result<(String, String)> {
    let (mut secret, mut salt) = ([0; 32], [0; 16]);
    let random = |bytes: &mut [u8]| rand::fill(bytes).map_err(|_| io::Error::other("the system has no random numbers"));
    random(&mut secret)?;
    random(&mut salt)?;
    let token = format!("{PREFIX}{name}.{}", hex(&secret));
    let hash = SaltString::encode_b64(&salt)
        .and_then(|salt| Ok(Argon2::default().hash_password(token.as_bytes(), &salt)?.to_string()));
    Ok((token, hash.map_err(|error| io::Error::other(error.to_string()))?))
}

fn check_access(path: &Path, file: &File) -> Result<(), TokensError> {
    let found = file.metadata().map_err(|reason| TokensError::Unusable { path: path.to_owned(), reason })?;
    let mode = found.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(TokensError::Open { path: path.to_owned(), mode });
    }
    match found.uid() {
        owner if owner == 0 || owner == rustix::process::geteuid().as_raw() => Ok(()),
        // Root may do everything anyway.
        _ if rustix::process::geteuid().is_root() => Ok(()),
        owner => Err(TokensError::Foreign { path: path.to_owned(), owner }),
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Scanners for secrets find it by that.
const PREFIX: &str = "waypost.";

/// A thousand lines are a tenth of that.
const MAX_FILE: u64 = 1 << 20;

/// In KiB.
const MAX_MEMORY: u32 = 1 << 20;

const MAX_PASSES: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_added_found_and_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        assert!(matches!(read(&path), Err(TokensError::Missing(_))));
        let ops = add(&path, "ops", Role::Change).unwrap();
        let probe = add(&path, "probe-1", Role::Read).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert!(matches!(add(&path, "ops", Role::Read), Err(TokensError::Taken(_))));
        assert!(matches!(add(&path, "o.p", Role::Read), Err(TokensError::BadName(_))));
        let (lines, faults) = read(&path).unwrap();
        assert!(faults.is_empty());
        let roles: Vec<_> = lines.iter().map(|line| (line.name.as_str(), line.role)).collect();
        assert_eq!(roles, [("ops", Role::Change), ("probe-1", Role::Read)]);
        assert_eq!((name_of(&ops), name_of(&probe)), (Some("ops"), Some("probe-1")));
        assert!(is_token_of(&ops, &lines[0].hash) && !is_token_of(&probe, &lines[0].hash));
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains(ops.rsplit('.').next().unwrap()), "{text}");
        fs::write(&path, format!("# people\n{text}")).unwrap();
        assert_eq!(remove(&path, "ops").unwrap(), Role::Change);
        assert!(matches!(remove(&path, "ops"), Err(TokensError::Unknown(_))));
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("# people\nprobe-1:read:$argon2id$") && text.lines().count() == 2, "{text}");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_file_that_others_can_read_is_no_good() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        add(&path, "ops", Role::Change).unwrap();
        for mode in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(&format!("mode {mode:o}")) && error.contains("`chmod 600`"), "{error}");
            assert!(add(&path, "more", Role::Read).is_err());
        }
    }

    #[test]
    fn lines_that_are_wrong_are_told_and_let_nobody_in() {
        let hash = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$iWh06vD8Fy27wf9npn6FXWiCX4K6pW6Ue1Bnzz07Z8A";
        let text = format!(
            "# comment\n\nok:change:{hash}\nold:{hash}\nok:read:{hash}\nnobody\na b:read:{hash}\nx:write:{hash}\n\
            y:read:secret\nz:read:{}\nw:read:{}\n",
            hash.replace("argon2id", "argon2i"),
            hash.replace("m=8", "m=4000000")
        );
        let (lines, faults) = parse(Path::new("tokens"), &text);
        let roles: Vec<_> = lines.iter().map(|line| (line.name.as_str(), line.role)).collect();
        assert_eq!(roles, [("ok", Role::Change), ("old", Role::Read)]);
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        let wanted = [
            "5: this name",
            "6: a line is",
            "7: the name",
            "8: a role",
            "9: this is no hash in",
            "10: this is no hash by",
            "11: the hash takes",
        ];
        assert_eq!(faults.len(), wanted.len(), "{faults:?}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        assert!(check(&path)[0].message.contains("waypost admin token NAME"));
        fs::write(&path, &text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let found = check(&path);
        assert_eq!(found.iter().map(|finding| finding.line).collect::<Vec<_>>(), [5, 6, 7, 8, 9, 10, 11]);
        assert!(found.iter().all(|finding| !finding.to_string().contains("argon2id$")), "{found:?}");
        for (fault, wanted) in faults.iter().zip(wanted) {
            assert!(fault.starts_with(&format!("tokens:{wanted}")), "{fault}");
        }
    }

    #[test]
    fn what_looks_like_no_token_names_nobody() {
        for text in
            ["", "waypost.", "waypost.ops", "waypost.ops.", "waypost..x", "ops.x", "Waypost.ops.x", "waypost.o p.x"]
        {
            assert_eq!(name_of(text), None, "{text}");
        }
    }
}
