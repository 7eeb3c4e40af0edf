//! The cache between clients and a platform that are made up, with time that passes when it is told to.

mod flights;
mod reuse;
mod serving;
mod upkeep;

use super::*;

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

/// Fields of a message; a value `@-60` is the date a minute ago.
type Lines<'a> = &'a [(&'static str, &'a str)];

/// A platform's response.
#[derive(Clone, Debug)]
struct Response {
    status: u16,
    fields: Vec<(&'static str, String)>,
    body: &'static [u8],
}

fn response(status: u16, fields: Lines<'_>) -> Response {
    let fields = fields.iter().map(|&(name, value)| (name, value.to_owned())).collect();
    Response { status, fields, body: b"0123456789" }
}

fn ok(fields: Lines<'_>) -> Response {
    response(200, fields)
}

/// What a client got, and what the platform saw of it.
#[derive(Debug)]
struct Seen {
    status: u16,
    fields: HeaderMap,
    body: Vec<u8>,
    /// The conditions that the platform was asked with; none if it wasn't asked.
    asked: Option<Vec<(HeaderName, HeaderValue)>>,
}

impl Seen {
    fn is_cached(&self) -> bool {
        self.asked.is_none()
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(|value| value.to_str().unwrap())
    }

    fn condition(&self, name: &str) -> Option<&str> {
        let found = self.asked.as_ref()?.iter().find(|(own, _)| own == name)?;
        Some(found.1.to_str().unwrap())
    }

    fn cache_status(&self) -> &str {
        self.field("cache-status").unwrap()
    }
}

struct Site {
    cache: Cache,
    rules: Arc<Rules>,
    now: i64,
    down: bool,
}

const HOST: &[u8] = b"h.example";

impl Site {
    /// Without anything that the site allows besides what responses allow themselves.
    fn new() -> Self {
        Self::with(Rules { stale_if_down: 0, ..Rules::default() })
    }

    fn with(rules: Rules) -> Self {
        let cache = Cache::new(Settings { bytes: 4 << 20, object_bytes: 1 << 20, flight_bytes: 2 << 20 });
        Site { cache, rules: Arc::new(rules), now: 1_800_000_000, down: false }
    }

    fn wait(&mut self, seconds: i64) {
        self.now += seconds;
    }

    fn map(&self, lines: &[(&'static str, impl AsRef<str>)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            let value = value.as_ref();
            let value = match value.strip_prefix('@') {
                Some(offset) => date::write(self.now + offset.parse::<i64>().unwrap()),
                None => HeaderValue::from_str(value).unwrap(),
            };
            map.append(*name, value);
        }
        map
    }

    fn asked<'a>(&'a self, target: &'a str, fields: &'a HeaderMap) -> Asked<'a> {
        let key = KeyParts { secure: false, host: HOST, target: target.as_bytes() };
        Asked { key, head_only: false, fields, rules: &self.rules, now: self.now, down: self.down }
    }

    async fn get(&self, request: Lines<'_>, platform: Result<&Response, Failure>) -> Seen {
        self.ask("GET", "/", request, platform).await
    }

    /// One request from client to platform and back; what is to be done in the background is done at once.
    async fn ask(&self, method: &str, target: &str, request: Lines<'_>, platform: Result<&Response, Failure>) -> Seen {
        let fields = self.map(request);
        let asked = Asked { head_only: method == "HEAD", ..self.asked(target, &fields) };
        if !matches!(method, "GET" | "HEAD") {
            return self.pass(method, &asked, HeaderMap::new(), platform);
        }
        match self.cache.lookup(&asked) {
            Lookup::Hit(hit) => seen(hit.respond(&asked), None).await,
            Lookup::Stale(hit, flight) => {
                let reply = hit.respond(&asked);
                let sent = flight.as_ref().map(Flight::fields);
                if let Some(flight) = flight {
                    self.fetch(flight, platform).await;
                }
                seen(reply, sent).await
            }
            Lookup::Fetch(flight, follower) => {
                let sent = Some(flight.fields());
                let client = async {
                    match follower.reply(&asked).await {
                        Followed::Reply(reply) => seen(reply, sent).await,
                        Followed::Failed(_) => {
                            Seen { status: 502, fields: HeaderMap::new(), body: Vec::new(), asked: sent }
                        }
                        Followed::Again | Followed::Interim(..) => panic!("the leader is answered"),
                    }
                };
                tokio::join!(client, self.fetch(flight, platform)).0
            }
            Lookup::Join(_) => panic!("nobody else asks"),
            Lookup::Pass(pass) => {
                let status = HeaderMap::from_iter([(CACHE_STATUS, pass.cache_status())]);
                self.pass(method, &asked, status, platform)
            }
            Lookup::GatewayTimeout => Seen { status: 504, fields: HeaderMap::new(), body: Vec::new(), asked: None },
        }
    }

    fn pass(
        &self,
        method: &str,
        asked: &Asked<'_>,
        mut fields: HeaderMap,
        platform: Result<&Response, Failure>,
    ) -> Seen {
        let response = platform.unwrap();
        fields.extend(self.map(&response.fields));
        let times = Times { requested: self.now, received: self.now };
        self.cache.observe(asked, &method.parse().unwrap(), response.status, &fields, times);
        let body = if method == "HEAD" { Vec::new() } else { response.body.to_vec() };
        Seen { status: response.status, fields, body, asked: Some(Vec::new()) }
    }

    async fn fetch(&self, flight: Flight, platform: Result<&Response, Failure>) {
        let response = match platform {
            Ok(response) => response,
            Err(failure) => return flight.fail(failure, self.now),
        };
        let mut fields = self.map(&response.fields);
        let times = Times { requested: self.now, received: self.now };
        let sent: HeaderMap = flight.fields().into_iter().collect();
        let validators = [(header::IF_NONE_MATCH, header::ETAG), (header::IF_MODIFIED_SINCE, header::LAST_MODIFIED)];
        let confirmed = response.status == 200
            && validators
                .iter()
                .any(|(condition, own)| sent.contains_key(condition) && sent.get(condition) == fields.get(own));
        if confirmed {
            assert!(matches!(flight.head(304, fields, times), Outcome::Done));
            return;
        }
        if response.status != 304 {
            fields.entry(header::CONTENT_LENGTH).or_insert(response.body.len().into());
        }
        match flight.head(response.status, fields, times) {
            Outcome::Body(mut filling) => {
                let (first, second) = response.body.split_at(response.body.len() / 2);
                for piece in [first, second] {
                    if filling.write(Bytes::from_static(piece)).await.is_err() {
                        return;
                    }
                }
                let _ = filling.end(None);
            }
            Outcome::Done => {}
            Outcome::Again(_) => panic!("the platform confirms what it is asked of"),
        }
    }
}

async fn seen(reply: Reply, asked: Option<Vec<(HeaderName, HeaderValue)>>) -> Seen {
    let body = read(reply.body).await.unwrap_or_default();
    Seen { status: reply.status, fields: reply.fields, body, asked }
}

async fn read(body: Body) -> Result<Vec<u8>, Aborted> {
    match body {
        Body::Empty => Ok(Vec::new()),
        Body::Pieces(pieces) => Ok(pieces.concat()),
        Body::Stream(mut reader) => {
            let mut whole = Vec::new();
            while let Some(piece) = reader.next().await {
                whole.extend_from_slice(&piece?);
            }
            Ok(whole)
        }
    }
}
