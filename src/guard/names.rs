//! Names and addresses from DNS.

use std::{
    net::{IpAddr, SocketAddr},
    sync::OnceLock,
    time::Duration,
};

use async_trait::async_trait;
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{Name, RData},
};

/// DNS gave no answer: time-out, refusal, failure. What it says is not there is an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unanswered;

/// Look-ups, as DNS does them.
#[async_trait]
pub(crate) trait Names: Send + Sync {
    /// The names that the reverse look-up of an address gives.
    async fn names_of(&self, address: IpAddr) -> Result<Vec<String>, Unanswered>;

    /// The addresses of a name: IPv4 or IPv6.
    async fn addresses_of(&self, name: &str, v4: bool) -> Result<Vec<IpAddr>, Unanswered>;
}

/// DNS servers: the system's, or others.
pub(crate) struct SystemNames {
    servers: Vec<SocketAddr>,
    /// Made when it is first needed, on the runtime that needs it; none if it can't be.
    resolver: OnceLock<Option<TokioResolver>>,
}

/// How long a server may take, and how often it is asked.
const PATIENCE: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

impl SystemNames {
    /// These servers; those of /etc/resolv.conf if there are none.
    pub fn new(servers: &[SocketAddr]) -> Self {
        SystemNames { servers: servers.to_vec(), resolver: OnceLock::new() }
    }

    fn resolver(&self) -> Result<&TokioResolver, Unanswered> {
        let resolver = self.resolver.get_or_init(|| {
            let made = self.make();
            made.inspect_err(|error| log::warn!("names can't be looked up, there is no DNS: {error}")).ok()
        });
        resolver.as_ref().ok_or(Unanswered)
    }

    fn make(&self) -> Result<TokioResolver, NetError> {
        let mut builder = if self.servers.is_empty() {
            TokioResolver::builder_tokio()?
        } else {
            let servers = self.servers.iter().map(|server| {
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
}

#[async_trait]
impl Names for SystemNames {
    async fn names_of(&self, address: IpAddr) -> Result<Vec<String>, Unanswered> {
        let found = self.resolver()?.reverse_lookup(Name::from(address)).await;
        let names = answers(found.map(|lookup| lookup.answers().iter().map(|record| record.data.clone()).collect()))?;
        let name = |data: &RData| match data {
            RData::PTR(name) => Some(name.0.to_ascii()),
            _ => None,
        };
        Ok(names.iter().filter_map(name).collect())
    }

    async fn addresses_of(&self, name: &str, v4: bool) -> Result<Vec<IpAddr>, Unanswered> {
        // With the dot, no search domain is tried.
        let Ok(name) = Name::from_ascii(format!("{}.", name.trim_end_matches('.'))) else { return Ok(Vec::new()) };
        let resolver = self.resolver()?;
        let found = if v4 { resolver.ipv4_lookup(name).await } else { resolver.ipv6_lookup(name).await };
        let data = answers(found.map(|lookup| lookup.answers().iter().map(|record| record.data.clone()).collect()))?;
        Ok(data.iter().filter_map(RData::ip_addr).collect())
    }
}

/// What DNS answered; that there is nothing is an answer.
fn answers(found: Result<Vec<RData>, NetError>) -> Result<Vec<RData>, Unanswered> {
    match found {
        Ok(data) => Ok(data),
        Err(error) if error.is_no_records_found() => Ok(Vec::new()),
        Err(_) => Err(Unanswered),
    }
}
