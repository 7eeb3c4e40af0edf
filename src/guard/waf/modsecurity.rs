//! The rule set's own reference engine, libmodsecurity 3.
//!
//! Rules are given to it one by one, so that one that it can't take is left out alone. Each gets a tag that no client can
//! guess: the lines in which the library tells its hits also hold what the client sent, and nobody may forge one.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use ::modsecurity::{ModSecurity as Library, Rules, Transaction};

use super::directives::{RuleSet, Unit, files};
use super::{Engine, Fault, Hit, Request, Stuck};

/// The library with a set of rules.
pub struct ModSecurity {
    library: Library,
    rules: Rules,
    known: HashMap<u32, Known>,
    /// What comes before a rule's number in its tag.
    secret: String,
}

/// What its author says of a rule.
struct Known {
    template: Hit,
}

impl fmt::Debug for ModSecurity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModSecurity").field("rules", &self.known.len()).finish_non_exhaustive()
    }
}

impl ModSecurity {
    /// Loads what can be loaded of `rules`, and drops the rest from it.
    pub fn new(rules: &mut RuleSet, faults: &mut Vec<Fault>) -> Result<Self, Fault> {
        let library = Library::builder().with_log_callbacks().build();
        let secret = format!("{:032x}", random());
        let mut loaded = Rules::new();
        loaded.add_plain(SETUP).map_err(|error| Fault::in_general(format!("libmodsecurity: {error}")))?;
        let mut known = HashMap::new();
        for unit in super::directives::parse(std::path::Path::new("waypost"), SETUP) {
            remember(&mut known, &unit);
        }
        let own = add_own(&mut loaded, OWN, &secret, &mut known)?;
        debug_assert!(own > 0);
        rules.units.retain(|unit| {
            if !PASSED_ON.contains(&unit.name.as_str()) {
                // Whether rules run, how much of a body they see and what is logged is the gateway's to say.
                return unit.name.starts_with("SecComponent");
            }
            match loaded.add_plain(&marked(unit, &secret)) {
                Ok(()) => {
                    remember(&mut known, unit);
                    true
                }
                Err(error) => {
                    let why = error.to_string();
                    let why = why
                        .rsplit_once("Column: ")
                        .and_then(|(_, why)| why.split_once(". "))
                        .map_or(&*why, |(_, why)| why);
                    faults.push(Fault {
                        file: Some(unit.file.to_path_buf()),
                        line: unit.line,
                        id: unit.id,
                        why: format!("left out, since libmodsecurity can't load it: {}", why.trim()),
                    });
                    false
                }
            }
        });
        loaded.add_plain(LAST).map_err(|error| Fault::in_general(format!("libmodsecurity: {error}")))?;
        Ok(ModSecurity { library, rules: loaded, known, secret })
    }

    /// The rule that wants the request refused, if one does.
    fn denial(&self, transaction: &mut Transaction<'_>) -> Option<Hit> {
        let intervention = transaction.intervention().filter(|intervention| intervention.disruptive())?;
        let named = intervention.log().and_then(|line| self.hit(line));
        let nameless = || Hit {
            id: 0,
            severity: super::Severity::None,
            paranoia: 1,
            message: "a rule that does not log".into(),
            tags: Vec::new().into(),
            denies: true,
        };
        Some(Hit { denies: true, ..named.unwrap_or_else(nameless) })
    }

    fn hit(&self, line: &str) -> Option<Hit> {
        let after = line.split(&self.secret).nth(1)?;
        let digits = after.strip_prefix('/')?.split(|c: char| !c.is_ascii_digit()).next()?;
        Some(self.known.get(&digits.parse().ok()?)?.template.clone())
    }
}

/// Rules of ours, which get a mark too.
fn add_own(rules: &mut Rules, text: &str, secret: &str, known: &mut HashMap<u32, Known>) -> Result<usize, Fault> {
    let units = super::directives::parse(std::path::Path::new("waypost"), text);
    for unit in &units {
        let added = rules.add_plain(&marked(unit, secret));
        added.map_err(|error| Fault::in_general(format!("libmodsecurity: {error}")))?;
        remember(known, unit);
    }
    Ok(units.len())
}

fn remember(known: &mut HashMap<u32, Known>, unit: &Unit) {
    if let Some(id) = unit.id {
        let template = Hit {
            id,
            severity: unit.severity,
            paranoia: unit.paranoia,
            message: unit.message.clone(),
            tags: unit.tags.clone(),
            denies: unit.denies,
        };
        known.insert(id, Known { template });
    }
}

/// The text of a directive with its mark, and with whole paths: given as text, it has no folder of its own.
fn marked(unit: &Unit, secret: &str) -> String {
    let mut text = unit.text.clone();
    for link in
        unit.links.iter().filter(|link| matches!(link.operator.as_str(), "pmfromfile" | "pmf" | "ipmatchfromfile"))
    {
        let paths: Vec<String> = files(unit, link).iter().map(|path| path.display().to_string()).collect();
        text = text.replacen(&format!(" {}\"", link.argument), &format!(" {}\"", paths.join(" ")), 1);
    }
    if let Some(id) = unit.id.filter(|_| unit.name == "SecRule") {
        let tag = format!("tag:'{secret}/{id}'");
        if unit.actions.iter().any(|action| action == "multiMatch") {
            // The library tells nobody of hits of such rules: another rule does it for them.
            let told = format!("waypost_{id}");
            text = text.trim_end().trim_end_matches('"').to_owned() + &format!(",setvar:'tx.{told}=1'\"\n");
            let follower = TOLD + u64::from(id);
            text += &format!("SecRule TX:{told} \"@eq 1\" \"id:{follower},phase:2,t:none,log,pass,{tag}\"");
        } else {
            for written in [format!("id:{id}"), format!("id:'{id}'")] {
                if text.contains(&written) {
                    text = text.replacen(&written, &format!("{written},{tag}"), 1);
                    break;
                }
            }
        }
    }
    text.push('\n');
    text
}

/// What is added to the number of a rule for that of its follower.
const TOLD: u64 = 7_000_000_000;

impl Engine for ModSecurity {
    fn inspect(&self, request: &Request) -> Result<Vec<Hit>, Stuck> {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let sink = lines.clone();
        let log = move |line: Option<&str>| {
            if let Some(line) = line {
                sink.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
            }
        };
        // It is `UNIQUE_ID`, by which SETUP knows the level.
        let id = format!("paranoia-{}", request.paranoia.clamp(1, 4));
        let built = self.library.transaction_builder().with_rules(&self.rules).with_id(&id).with_logging(log).build();
        let mut transaction = built.map_err(|_| Stuck("began"))?;
        let client = request.client.map_or_else(|| "0.0.0.0".to_owned(), |client| client.to_canonical().to_string());
        transaction.process_connection(&client, 0, "", 0).map_err(|_| Stuck("read the connection"))?;
        let target = text(&request.target, escaped);
        transaction.process_uri(&target, &request.method, request.version).map_err(|_| Stuck("read the target"))?;
        for (name, value) in &request.fields {
            transaction.add_request_header(name, &text(value, latin)).map_err(|_| Stuck("read a header field"))?;
        }
        transaction.process_request_headers().map_err(|_| Stuck("looked at the head"))?;
        let mut denied = self.denial(&mut transaction);
        if denied.is_none() {
            if !request.body.is_empty() {
                transaction.append_request_body(&request.body).map_err(|_| Stuck("read the body"))?;
            }
            transaction.process_request_body().map_err(|_| Stuck("looked at the body"))?;
            denied = self.denial(&mut transaction);
        }
        drop(transaction);
        let lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hits: Vec<Hit> = lines.iter().filter_map(|line| self.hit(line)).collect();
        hits.iter_mut().for_each(|hit| hit.denies = false);
        // The library does not tell its log of the rule that refuses, but with the refusal.
        hits.extend(denied);
        if request.cut {
            // What is cut off is malformed.
            hits.retain(|hit| !matches!(hit.id, 7031 | 7032));
        }
        hits.retain(|hit| hit.severity > super::Severity::None || hit.denies);
        Ok(hits)
    }
}

/// As text without NUL, which is all that the library's binding takes; bytes that are no text go through `other`.
fn text(bytes: &[u8], other: fn(u8, &mut String)) -> String {
    if let Ok(text) = str::from_utf8(bytes)
        && !bytes.contains(&0)
    {
        return text.to_owned();
    }
    let mut out = String::with_capacity(bytes.len() + 8);
    for &byte in bytes {
        match byte {
            0x01..=0x7f => out.push(byte as char),
            _ => other(byte, &mut out),
        }
    }
    out
}

/// In a target a byte and its escape are the same.
fn escaped(byte: u8, out: &mut String) {
    out.push_str(&format!("%{byte:02X}"));
}

/// In a field no byte becomes one that means something.
fn latin(byte: u8, out: &mut String) {
    out.push(if byte == 0 { '\u{1}' } else { char::from(byte) });
}

fn random() -> u128 {
    use std::hash::{BuildHasher, RandomState};
    let half = || u128::from(RandomState::new().hash_one(0u8));
    half() << 64 | half()
}

/// Directives of rule files that go to the library.
const PASSED_ON: &[&str] = &[
    "SecRule",
    "SecAction",
    "SecMarker",
    "SecDefaultAction",
    "SecRuleRemoveById",
    "SecRuleRemoveByMsg",
    "SecRuleRemoveByTag",
    "SecRuleUpdateTargetById",
    "SecRuleUpdateTargetByMsg",
    "SecRuleUpdateTargetByTag",
    "SecRuleUpdateActionById",
    "SecCollectionTimeout",
    "SecGeoLookupDB",
    "SecGeoLookupDb",
    "SecUnicodeMapFile",
];

/// Bounds of the engine. Thresholds of the rule set are out of reach: sites have their own.
const SETUP: &str = r#"
SecRuleEngine On
SecRequestBodyAccess On
SecRequestBodyLimit 134217728
SecRequestBodyNoFilesLimit 134217728
SecRequestBodyLimitAction ProcessPartial
SecRequestBodyJsonDepthLimit 128
SecResponseBodyAccess Off
SecAuditEngine Off
SecPcreMatchLimit 100000
SecPcreMatchLimitRecursion 10000
SecAction "id:7001,phase:1,nolog,pass,setvar:tx.inbound_anomaly_score_threshold=1000000,setvar:tx.outbound_anomaly_score_threshold=1000000"
SecRule UNIQUE_ID "@streq paranoia-1" "id:7011,phase:1,nolog,pass,setvar:tx.paranoia_level=1,setvar:tx.executing_paranoia_level=1,setvar:tx.blocking_paranoia_level=1,setvar:tx.detection_paranoia_level=1"
SecRule UNIQUE_ID "@streq paranoia-2" "id:7012,phase:1,nolog,pass,setvar:tx.paranoia_level=2,setvar:tx.executing_paranoia_level=2,setvar:tx.blocking_paranoia_level=2,setvar:tx.detection_paranoia_level=2"
SecRule UNIQUE_ID "@streq paranoia-3" "id:7013,phase:1,nolog,pass,setvar:tx.paranoia_level=3,setvar:tx.executing_paranoia_level=3,setvar:tx.blocking_paranoia_level=3,setvar:tx.detection_paranoia_level=3"
SecRule UNIQUE_ID "@streq paranoia-4" "id:7014,phase:1,nolog,pass,setvar:tx.paranoia_level=4,setvar:tx.executing_paranoia_level=4,setvar:tx.blocking_paranoia_level=4,setvar:tx.detection_paranoia_level=4"
SecRule REQUEST_HEADERS:Content-Type "@rx ^(?:application(?:/soap\+|/)|text/)xml" "id:7021,phase:1,nolog,pass,t:none,t:lowercase,ctl:requestBodyProcessor=XML"
SecRule REQUEST_HEADERS:Content-Type "@rx ^application/(?:[a-z0-9.-]+\+)?json" "id:7022,phase:1,nolog,pass,t:none,t:lowercase,ctl:requestBodyProcessor=JSON"
"#;

/// What the engine itself finds wrong with a request; the library's recommended configuration has the same.
const OWN: &str = r#"
SecRule REQBODY_ERROR "!@eq 0" "id:7031,phase:2,t:none,log,pass,msg:'The body is not what its Content-Type says',severity:'CRITICAL',tag:'attack-protocol'"
SecRule MULTIPART_STRICT_ERROR "!@eq 0" "id:7032,phase:2,t:none,log,pass,msg:'The multipart body is malformed',severity:'CRITICAL',tag:'attack-protocol'"
SecRule TX:/^MSC_PCRE_/ "!@streq 0" "id:7033,phase:2,t:none,log,pass,msg:'The request is made to exhaust the rules',severity:'CRITICAL',tag:'attack-dos'"
"#;

/// After all rules.
const LAST: &str = "SecMarker \"END-WAYPOST\"\n";
