use std::{collections::HashMap, net::UdpSocket, sync::Mutex};

use async_trait::async_trait;
use hickory_resolver::proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{RData, Record, rdata},
};

use super::*;
use crate::config::known_crawlers;

/// DNS as a test has it; an address or name that is not there gives no answer.
#[derive(Default)]
struct Told {
    names: HashMap<IpAddr, Vec<&'static str>>,
    addresses: HashMap<&'static str, Vec<IpAddr>>,
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl Names for Told {
    async fn names_of(&self, address: IpAddr) -> Result<Vec<String>, Unanswered> {
        self.asked.lock().unwrap().push(address.to_string());
        let names = self.names.get(&address).ok_or(Unanswered)?;
        Ok(names.iter().map(|name| (*name).to_owned()).collect())
    }

    async fn addresses_of(&self, name: &str, _: bool) -> Result<Vec<IpAddr>, Unanswered> {
        self.asked.lock().unwrap().push(name.to_owned());
        self.addresses.get(name).cloned().ok_or(Unanswered)
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const BAIDU: &str = "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)";

/// What is known of a client that calls itself by `agent`, when DNS has answered. Nobody waits for that on a request's
/// way.
fn looks((declared, crawlers): (&Declared, &Crawlers), client: &str, agent: &str, names: &[&str]) -> Option<Standing> {
    let fields = vec![("User-Agent".to_owned(), agent.to_owned())];
    let client = ip(client);
    let names: Vec<Box<str>> = names.iter().map(|name| (*name).into()).collect();
    let view = View {
        site: "",
        method: "GET",
        host: None,
        target: b"/",
        secure: false,
        client: Some(client),
        fields: &fields,
        is_many: false,
        habits: None,
        is_mapped: &|| false,
    };
    let is_known_as = |standing| crawlers.is_known_as(declared, standing, &names, &view);
    let is_asked_of_dns = !crawlers.known.contains_key(&client.to_canonical());
    let verified = is_known_as(Standing::Verified);
    if !crawlers.known.contains_key(&client.to_canonical()) {
        // Nothing was to be asked.
        return if verified {
            Some(Standing::Verified)
        } else {
            is_known_as(Standing::Impostor).then_some(Standing::Impostor)
        };
    }
    assert!(!(is_asked_of_dns && verified), "verified before DNS could be asked");
    while matches!(crawlers.known.get(&client.to_canonical()), Some(Known::Awaited)) {
        thread::yield_now();
    }
    match (is_known_as(Standing::Verified), is_known_as(Standing::Impostor)) {
        (true, false) => Some(Standing::Verified),
        (false, true) => Some(Standing::Impostor),
        (false, false) => None,
        (true, true) => unreachable!("both at once"),
    }
}

#[test]
fn a_name_that_gives_the_address_proves_a_crawler() {
    use Standing::{Impostor, Verified};
    let told = Told {
        names: HashMap::from([
            (ip("116.179.32.1"), vec!["baiduspider-116-179-32-1.crawl.baidu.com."]),
            // Anybody can name their own address like this.
            (ip("203.0.113.1"), vec!["crawl.baidu.com"]),
            (ip("203.0.113.2"), vec!["evilbaidu.com", "baidu.com.evil.example"]),
            (ip("203.0.113.3"), vec![]),
            (ip("203.0.113.4"), vec!["gone.baidu.com"]),
            (ip("203.0.113.5"), vec!["x.evil.example", "GOOD.Baidu.COM"]),
            (ip("66.249.66.1"), vec!["crawl-66-249-66-1.googlebot.com"]),
        ]),
        addresses: HashMap::from([
            ("baiduspider-116-179-32-1.crawl.baidu.com", vec![ip("116.179.32.1")]),
            ("crawl.baidu.com", vec![ip("116.179.32.9")]),
            ("good.baidu.com", vec![ip("203.0.113.9"), ip("203.0.113.5")]),
            ("crawl-66-249-66-1.googlebot.com", vec![ip("66.249.66.1")]),
        ]),
        asked: Mutex::default(),
    };
    let told = Arc::new(told);
    let declared = Declared::new(&known_crawlers());
    let crawlers = (&declared, &Crawlers::with_names(told.clone()));
    let baidu = |client| looks(crawlers, client, BAIDU, &["baidu"]);
    assert_eq!(baidu("116.179.32.1"), Some(Verified));
    assert_eq!(baidu("::ffff:116.179.32.1"), Some(Verified));
    assert_eq!(baidu("203.0.113.1"), Some(Impostor));
    assert_eq!(baidu("203.0.113.2"), Some(Impostor));
    assert_eq!(baidu("203.0.113.3"), Some(Impostor));
    // DNS is out of order for the name, or for the address.
    assert_eq!(baidu("203.0.113.4"), None);
    assert_eq!(baidu("192.0.2.1"), None);
    assert_eq!(baidu("203.0.113.5"), Some(Verified));
    // What is known of an address holds for every crawler.
    assert_eq!(looks(crawlers, "66.249.66.1", BAIDU, &["*"]), Some(Impostor));
    assert_eq!(looks(crawlers, "66.249.66.1", "Googlebot/2.1", &["*"]), Some(Verified));
    assert_eq!(looks(crawlers, "66.249.66.1", "Googlebot/2.1", &["baidu", "bing"]), None);
    assert_eq!(looks(crawlers, "66.249.66.1", "curl/8", &["*"]), None);
    let asked = told.asked.lock().unwrap().clone();
    assert!(!asked.iter().any(|name| name.contains("evil")), "{asked:?}");
    assert_eq!(asked.iter().filter(|name| *name == "116.179.32.1").count(), 1, "{asked:?}");
}

#[test]
fn networks_need_no_names() {
    let mut own = known_crawlers();
    own.retain(|crawler| crawler.name == "360");
    assert_eq!(
        looks(
            (&Declared::new(&own), &Crawlers::with_names(Arc::new(Told::default()))),
            "203.0.113.7",
            "360Spider",
            &["360"]
        ),
        None
    );
    own[0].networks = vec!["203.0.113.0/24".parse().unwrap()];
    let declared = Declared::new(&own);
    let crawlers = (&declared, &Crawlers::with_names(Arc::new(Told::default())));
    assert_eq!(looks(crawlers, "203.0.113.7", "360Spider", &["360"]), Some(Standing::Verified));
    assert_eq!(looks(crawlers, "198.51.100.7", "360Spider", &["360"]), Some(Standing::Impostor));
    assert!(crawlers.1.asked.get().is_none(), "nobody had to be asked");
}

/// Answers three questions, then is silent: a reverse name, its address, and that another address has none.
#[test]
fn a_server_is_asked_as_dns_has_it() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let server = thread::spawn(move || {
        let mut names = Vec::new();
        let mut buffer = [0; 1500];
        while names.len() < 4 {
            let (length, from) = socket.recv_from(&mut buffer).unwrap();
            let question = Message::from_vec(&buffer[..length]).unwrap();
            let query = question.queries[0].clone();
            let asked = query.name().to_ascii().to_ascii_lowercase();
            let mut answer = question.clone();
            answer.metadata.message_type = MessageType::Response;
            answer.metadata.recursion_available = true;
            let data = match asked.as_str() {
                "1.32.179.116.in-addr.arpa." => {
                    let name = hickory_resolver::proto::rr::Name::from_ascii("a.crawl.baidu.com.").unwrap();
                    Some(RData::PTR(rdata::PTR(name)))
                }
                "a.crawl.baidu.com." => Some(RData::A(rdata::A::new(116, 179, 32, 1))),
                "2.32.179.116.in-addr.arpa." => {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                    None
                }
                _ => {
                    answer.metadata.response_code = ResponseCode::ServFail;
                    None
                }
            };
            answer.answers.extend(data.map(|data| Record::from_rdata(query.name().clone(), 60, data)));
            socket.send_to(&answer.to_vec().unwrap(), from).unwrap();
            if !names.contains(&asked) {
                names.push(asked);
            }
        }
        names.sort();
        names
    });
    let declared = Declared::new(&known_crawlers());
    let crawlers = (&declared, &Crawlers::new(&[address]));
    assert_eq!(looks(crawlers, "116.179.32.1", BAIDU, &["baidu"]), Some(Standing::Verified));
    assert_eq!(looks(crawlers, "116.179.32.2", BAIDU, &["baidu"]), Some(Standing::Impostor));
    // The server fails, and is then gone.
    assert_eq!(looks(crawlers, "116.179.32.3", BAIDU, &["baidu"]), None);
    let names = [
        "1.32.179.116.in-addr.arpa.",
        "2.32.179.116.in-addr.arpa.",
        "3.32.179.116.in-addr.arpa.",
        "a.crawl.baidu.com.",
    ];
    assert_eq!(server.join().unwrap(), names);
}

#[test]
fn a_flood_of_claims_is_bounded() {
    /// Never answers.
    struct Silent;
    #[async_trait]
    impl Names for Silent {
        async fn names_of(&self, _: IpAddr) -> Result<Vec<String>, Unanswered> {
            std::future::pending().await
        }
        async fn addresses_of(&self, _: &str, _: bool) -> Result<Vec<IpAddr>, Unanswered> {
            std::future::pending().await
        }
    }
    let declared = Declared::new(&known_crawlers());
    let crawlers = Crawlers::with_names(Arc::new(Silent));
    let baidu = &declared.crawlers[0];
    for number in 0..20_000u32 {
        assert_eq!(crawlers.standing(&declared, baidu, IpAddr::from(number.to_be_bytes())), None);
    }
    crawlers.known.run_pending_tasks();
    let waiting = crawlers.known.entry_count();
    assert!(waiting <= (MAX_WAITING + MAX_ASKED + 1) as u64, "{waiting}");
}
