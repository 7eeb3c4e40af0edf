//! What DNS says of a name: which things other than the old web site would go with it.

use std::{collections::BTreeSet, net::SocketAddr, sync::Arc, time::Duration};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RecordType},
};
use serde::Serialize;
use tokio::task::JoinSet;

/// What was found of a name.
#[derive(Clone, Debug, Default, Serialize)]
pub struct NameFacts {
    /// The name.
    pub name: String,
    /// Its records, and those of services below it.
    pub records: Vec<Record>,
    /// Other names below it that have addresses, of those that are usual.
    pub below: Vec<String>,
    /// Whether every name below it has an address, so that those say nothing.
    pub is_wildcard: bool,
    /// Questions that DNS did not answer.
    pub unanswered: Vec<String>,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Record {
    /// Whose it is.
    pub name: String,
    /// Its type, as `MX`.
    pub kind: String,
    /// What it says.
    pub data: String,
}

/// Asks about names: the servers given, or those of the system. `own` are hosts that are known already.
///
/// # Errors
/// If the system has no DNS servers, or no runtime can be made.
pub fn ask(names: &[String], own: &BTreeSet<String>, servers: &[SocketAddr]) -> Result<Vec<NameFacts>, String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let resolver = Arc::new(resolver(servers).map_err(|error| error.to_string())?);
        let mut all = Vec::new();
        for name in names {
            all.push(facts(&resolver, name, own).await);
        }
        Ok(all)
    })
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, NetError> {
    let mut builder = if servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let servers = servers.iter().map(|server| {
            let port = |mut connection: ConnectionConfig| {
                connection.port = server.port();
                connection
            };
            let connections = vec![port(ConnectionConfig::udp()), port(ConnectionConfig::tcp())];
            NameServerConfig::new(server.ip(), true, connections)
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.timeout = PATIENCE;
    options.attempts = ATTEMPTS;
    options.use_hosts_file = ResolveHosts::Never;
    builder.build()
}

async fn facts(resolver: &Arc<TokioResolver>, name: &str, own: &BTreeSet<String>) -> NameFacts {
    let mut facts = NameFacts { name: name.to_owned(), ..NameFacts::default() };
    let nobody = format!("waypost-{:08x}.{name}", 0x5EED_u32.wrapping_mul(name.len() as u32 + 77));
    let mut questions: Vec<(String, RecordType)> = KINDS.iter().map(|kind| (name.to_owned(), *kind)).collect();
    questions.extend(SERVICES.iter().map(|service| (format!("{service}.{name}"), RecordType::SRV)));
    questions.push((format!("_dmarc.{name}"), RecordType::TXT));
    for usual in
        USUAL.iter().map(|label| format!("{label}.{name}")).filter(|usual| !own.contains(usual)).chain([nobody.clone()])
    {
        questions.extend([RecordType::A, RecordType::AAAA].map(|kind| (usual.clone(), kind)));
    }
    let mut asked = JoinSet::new();
    for (name, kind) in questions {
        let resolver = resolver.clone();
        asked.spawn(async move {
            let found = lookup(&resolver, &name, kind).await;
            (name, kind, found)
        });
    }
    let (mut below, mut records) = (BTreeSet::new(), BTreeSet::new());
    while let Some(joined) = asked.join_next().await {
        let Ok((asked, kind, found)) = joined else {
            facts.unanswered.push("a question".to_owned());
            continue;
        };
        let is_address = matches!(kind, RecordType::A | RecordType::AAAA);
        match found {
            Err(()) => facts.unanswered.push(format!("{kind} of {asked}")),
            Ok(found) if found.is_empty() => {}
            Ok(_) if asked == nobody => facts.is_wildcard = true,
            Ok(_) if is_address && asked != name => drop(below.insert(asked)),
            Ok(found) => records.extend(found),
        }
    }
    facts.records = records.into_iter().take(MOST_RECORDS).collect();
    if !facts.is_wildcard {
        facts.below = below.into_iter().collect();
    }
    facts.unanswered.sort();
    facts
}

/// The records of a name; that there are none is an answer.
async fn lookup(resolver: &TokioResolver, name: &str, kind: RecordType) -> Result<Vec<Record>, ()> {
    // With the dot, no search domain is tried.
    let Ok(fqdn) = Name::from_ascii(format!("{}.", name.trim_end_matches('.'))) else { return Ok(Vec::new()) };
    match resolver.lookup(fqdn, kind).await {
        Ok(lookup) => Ok(lookup
            .answers()
            .iter()
            .map(|record| Record {
                name: record.name.to_ascii().trim_end_matches('.').to_lowercase(),
                kind: record.data.record_type().to_string(),
                data: record.data.to_string().chars().take(LONGEST).collect(),
            })
            .collect()),
        Err(error) if error.is_no_records_found() => Ok(Vec::new()),
        Err(_) => Err(()),
    }
}

const KINDS: &[RecordType] = &[
    RecordType::A,
    RecordType::AAAA,
    RecordType::CNAME,
    RecordType::MX,
    RecordType::TXT,
    RecordType::NS,
    RecordType::CAA,
];

/// Services that are found by a domain (RFC 6186, RFC 2782 …).
const SERVICES: &[&str] = &[
    "_autodiscover._tcp",
    "_imaps._tcp",
    "_submission._tcp",
    "_sip._tls",
    "_sip._udp",
    "_xmpp-server._tcp",
    "_ldap._tcp",
];

/// Names that organisations have besides `www`.
const USUAL: &[&str] =
    &["mail", "smtp", "pop", "imap", "webmail", "oa", "vpn", "ftp", "api", "app", "m", "wap", "bbs", "img"];

const PATIENCE: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
const MOST_RECORDS: usize = 200;
const LONGEST: usize = 300;
