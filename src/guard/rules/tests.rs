use std::net::IpAddr;

use proptest::{prelude::*, sample::select};
use regex::RegexBuilder;

use super::{compile::sets, *};
use crate::config::Gateway;
use crate::config::condition::{Condition, Test, TextTest, habits};

/// A request of a test.
#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    target: String,
    fields: Vec<(String, String)>,
    client: IpAddr,
}

impl Asked {
    fn get(target: &str) -> Self {
        let client = IpAddr::from([203, 0, 113, 9]);
        Asked { method: "GET", target: target.to_owned(), fields: Vec::new(), client }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    fn view(&self) -> View<'_> {
        View {
            site: "old",
            method: self.method,
            host: Some(b"old.example"),
            target: self.target.as_bytes(),
            secure: false,
            client: Some(self.client),
            fields: &self.fields,
            is_many: false,
            habits: None,
            is_mapped: &|| false,
        }
    }
}

/// The rules of a gateway.toml.
fn rules(text: &str) -> Vec<RequestRule> {
    let (gateway, faults) = Gateway::parse("gateway.toml", text.to_owned(), std::path::Path::new(""));
    let faults: Vec<_> = faults.into_iter().filter(|fault| fault.code != "unreachable-rule").collect();
    assert!(faults.is_empty(), "{faults:?}");
    gateway.guard.rules[0].rules.clone()
}

/// The labels of the rules that hold, whatever they do.
fn all_holding(set: &RuleSet, asked: &Asked) -> Vec<Arc<str>> {
    let mut labels = Vec::new();
    let crawlers = (&Declared::default(), &Crawlers::new(&[]));
    let flow = set.holding(&asked.view(), crawlers, &mut Vec::new(), &mut |rule| {
        labels.push(rule.label.clone());
        ControlFlow::Continue(())
    });
    assert!(flow.is_continue());
    labels
}

fn holds(condition: &str, asked: &Asked) -> bool {
    let set = RuleSet::new(&rules(&format!("[[guard.rule]]\n{condition}\nlog = true\n")));
    !all_holding(&set, asked).is_empty()
}

#[test]
fn conditions_mean_what_they_say() {
    let get = Asked::get;
    let agent = |agent: &str| get("/").with("user-agent", agent);
    for (condition, asked, wanted) in [
        ("method = ['POST']", get("/"), false),
        ("method = ['POST', 'GET']", get("/"), true),
        // Every spelling of a path.
        ("path = ['/admin/{*rest}']", get("/x/%2e%2e//ADMIN/a?b"), true),
        ("path = ['/admin/{*rest}']", get("/admin"), true),
        ("path = ['/admin/{*rest}']", get("/admins"), false),
        ("path = ['/admin/{x}', '/b']", get("/B/"), true),
        ("path = ['/科普/{*rest}']", get("/%E7%A7%91%E6%99%AE/1"), true),
        ("path = ['/科普/{*rest}']", get("/%BF%C6%C6%D5/1"), true),
        ("path-regex = '\\.(bak|old)$'", get("/a/B.BAK"), true),
        ("path-regex = '\\.(bak|old)$'", get("/a.bak/b"), false),
        // Parameters, of which one of several will do.
        ("query = { name = 'ID', contains = ['union select'] }", get("/?a=1&id=2&%69d=1+UNION%20select"), true),
        ("query = { name = 'id', contains = ['union select'] }", get("/?ids=union+select"), false),
        ("query = { name = 'id' }", get("/?id"), true),
        ("query = { name = 'id' }", get("/a?b=id"), false),
        ("query = { name = 'id', is = ['', '7'] }", get("/?id="), true),
        ("query = { name = 'id', regex = '^[0-9]+$' }", get("/?id=7x&id=7"), true),
        ("query = { name = 'id', regex = '^[0-9]+$' }", get("/?id=7x"), false),
        ("query = { name = '名', is = ['科普'] }", get("/?%E5%90%8D=%BF%C6%C6%D5"), true),
        // Header fields.
        (
            "header = { name = 'Referer', contains = ['spam.example'] }",
            get("/").with("Referer", "http://SPAM.example/"),
            true,
        ),
        ("header = { name = 'referer', is = ['a'] }", get("/").with("referer", "b").with("referer", "A"), true),
        ("not = { header = { name = 'accept' } }", get("/"), true),
        ("not = { header = { name = 'accept' } }", get("/").with("accept", ""), false),
        ("user-agent = { contains = ['sqlmap', 'nikto'] }", agent("Mozilla (Nikto/2.1)"), true),
        ("user-agent = { contains = ['sqlmap'] }", agent("\u{17f}qlmap"), true),
        ("user-agent = { regex = '^python-requests/[0-9]' }", agent("Python-Requests/2.31"), true),
        ("user-agent = { regex = '^python-requests/[0-9]' }", agent("x python-requests/2"), false),
        ("user-agent = { regex = '(?-i)Bot' }", agent("bot"), false),
        ("user-agent = { regex = '\\bk[0-9]$', contains = ['x'] }", agent("x \u{212a}1"), true),
        ("user-agent = {}", get("/"), false),
        // Clients.
        ("client = ['203.0.113.0/24']", get("/"), true),
        ("client = ['203.0.113.8', '2001:db8::/32']", get("/"), false),
        // Together.
        ("path = ['/a']\nmethod = ['POST']", get("/a"), false),
        ("any = [{ method = ['POST'] }, { path = ['/a'] }]", get("/a"), true),
        ("all = [{ query = { name = 'a' } }, { query = { name = 'b' } }]", get("/?b&a"), true),
        ("all = [{ query = { name = 'a' } }, { query = { name = 'b' } }]", get("/?a"), false),
        ("path = ['/a']\nnot = { client = ['203.0.113.9'] }", get("/a"), false),
        ("any = [{ all = [{ not = { path = ['/a'] } }, { method = ['GET'] }] }]", get("/b"), true),
    ] {
        assert_eq!(holds(condition, &asked), wanted, "{condition} of {asked:?}");
    }
}

#[test]
fn rules_are_told_in_order_until_it_is_enough() {
    let set = RuleSet::new(&rules(
        "[[guard.rule]]\nname = 'one'\nuser-agent = { contains = ['bot'] }\ntag = 'bot'\n\
        [[guard.rule]]\nname = 'two'\npath = ['/{*any}']\nlog = true\n\
        [[guard.rule]]\nname = 'three'\ntagged = ['bot']\npath = ['/a']\ndeny = 403\n\
        [[guard.rule]]\nname = 'four'\npath = ['/a']\ndeny = 404\n",
    ));
    let told = |asked: &Asked| {
        let mut labels = Vec::new();
        let _ = set.holding(&asked.view(), (&Declared::default(), &Crawlers::new(&[])), &mut Vec::new(), &mut |rule| {
            labels.push(rule.label.to_string());
            if rule.action.is_last() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        labels.join(" ")
    };
    assert_eq!(told(&Asked::get("/a").with("user-agent", "a robot")), "one two three");
    assert_eq!(told(&Asked::get("/a")), "two four");
    assert_eq!(told(&Asked::get("/b")), "two");
}

#[test]
fn patterns_beyond_the_limit_of_a_set_are_split() {
    // Each is about 90 KB.
    let texts: Vec<(String, u32)> = (0..12).map(|n| (format!(r"\A/{n}/\w{{2}}\z"), n)).collect();
    let sets = sets(&texts, 1 << 19);
    assert!(sets.len() > 1, "{}", sets.len());
    let found: Vec<u32> = sets
        .iter()
        .flat_map(|(set, numbers)| set.matches(b"/11/ab").into_iter().map(|pattern| numbers[pattern]))
        .collect();
    assert_eq!(found, [11]);
}

/// Conditions in the language of files.
fn condition(depth: u32) -> BoxedStrategy<String> {
    let word = select(vec!["bot", "sk", "curl", "a", "科", "/a", "b c"]);
    let regex = select(vec!["bot", "^curl", "s?k+", "[a-c]k", "(bot|curl)/", "科", "a.*b", "(?-i)BOT", "x?"]);
    let path = select(vec!["/a", "/a/{x}", "/a/{*x}", "/{*x}", "/科", "/{x:[0-9]+}/b", "/b c"]);
    let words = proptest::collection::vec(word, 1..3);
    let text = prop_oneof![
        words.clone().prop_map(|words| format!("is = {words:?}")),
        words.prop_map(|words| format!("contains = {words:?}")),
        regex.clone().prop_map(|regex| format!("regex = '{regex}'")),
        Just(String::new()),
    ];
    let leaf = prop_oneof![
        select(vec!["GET", "POST"]).prop_map(|method| format!("method = ['{method}']")),
        proptest::collection::vec(path, 1..3).prop_map(|paths| format!("path = {paths:?}")),
        select(vec!["a$", "/b", "科"]).prop_map(|regex| format!("path-regex = '{regex}'")),
        select(vec!["10.0.0.0/8", "::/0", "10.0.0.1"]).prop_map(|net| format!("client = ['{net}']")),
        text.clone().prop_map(|text| format!("user-agent = {{ {text} }}")),
        (select(vec!["q", "k"]), text.clone()).prop_map(|(name, text)| named("query", name, &text)),
        (select(vec!["x-a", "x-b"]), text).prop_map(|(name, text)| named("header", name, &text)),
    ];
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = condition(depth - 1).prop_map(|condition| format!("{{ {} }}", condition.replace('\n', ", ")));
    let list = proptest::collection::vec(inner.clone(), 1..3).prop_map(|parts| parts.join(", "));
    prop_oneof![
        3 => leaf,
        1 => list.clone().prop_map(|list| format!("all = [{list}]")),
        1 => list.prop_map(|list| format!("any = [{list}]")),
        1 => inner.prop_map(|inner| format!("not = {inner}")),
    ]
    .boxed()
}

fn named(key: &str, name: &str, text: &str) -> String {
    let comma = if text.is_empty() { "" } else { ", " };
    format!("{key} = {{ name = '{name}'{comma}{text} }}")
}

fn asked() -> impl Strategy<Value = Asked> {
    let text = select(vec!["bot", "a Bot/1", "CURL", "sk", "\u{17f}\u{212a}", "科", "", "b c", "xk", "curl/bot", "/a"]);
    let path = select(vec!["/a", "/A/", "/a/b", "/1/b", "/%E7%A7%91", "/b%20c", "/", "/a//b/../c", "/科"]);
    let query = proptest::collection::vec((select(vec!["q", "K", "%71"]), text.clone()), 0..3);
    let fields = proptest::collection::vec((select(vec!["user-agent", "X-A", "x-b"]), text), 0..4);
    let client = select(vec!["10.0.0.1", "10.9.9.9", "192.0.2.1", "2001:db8::1", "::ffff:10.0.0.1"]);
    (select(vec!["GET", "POST"]), path, query, fields, client).prop_map(|(method, path, query, fields, client)| {
        let query: Vec<String> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        Asked {
            method,
            target: format!("{path}?{}", query.join("&")),
            fields: fields.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            client: client.parse().unwrap(),
        }
    })
}

/// What a condition means, without anything that makes it fast.
fn plainly(condition: &Condition, asked: &Asked) -> bool {
    match condition {
        Condition::All(parts) => parts.iter().all(|part| plainly(part, asked)),
        Condition::Any(parts) => parts.iter().any(|part| plainly(part, asked)),
        Condition::Not(inner) => !plainly(inner, asked),
        Condition::Is(Test::Method(methods)) => methods.iter().any(|method| method == asked.method),
        Condition::Is(Test::Client(networks)) => {
            networks.iter().any(|network| network.contains(&asked.client.to_canonical()))
        }
        Condition::Is(Test::Path(patterns)) => {
            let mut path = Canonical::default();
            Canonicalizer::new(habits(), false).canonicalize(asked.target.as_bytes(), Form::Wire, &mut path).unwrap();
            patterns
                .iter()
                .any(|pattern| regex::bytes::Regex::new(&pattern.path).unwrap().is_match(path.path().as_bytes()))
        }
        Condition::Is(Test::Text(part, test)) => {
            let values: Vec<String> = match part {
                Part::Header(name) => {
                    let own = asked.fields.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name));
                    own.map(|(_, value)| of_field(value.as_bytes()).into_owned()).collect()
                }
                Part::Query(name) => parameters(asked.target.as_bytes())
                    .filter(|(own, _)| of_query(own).eq_ignore_ascii_case(name))
                    .map(|(_, value)| of_query(value).into_owned())
                    .collect(),
            };
            values.iter().any(|value| match test {
                TextTest::Present => true,
                TextTest::Is(texts) => texts.iter().any(|text| text.eq_ignore_ascii_case(value)),
                TextTest::Contains(texts) => {
                    let value = value.to_ascii_lowercase();
                    texts.iter().any(|text| value.contains(&text.to_ascii_lowercase()))
                }
                TextTest::Regex(regex) => {
                    RegexBuilder::new(regex).case_insensitive(true).build().unwrap().is_match(value)
                }
            })
        }
        Condition::Is(Test::Tagged(_) | Test::Crawler(..)) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn many_rules_together_are_what_each_is_alone(
        conditions in proptest::collection::vec(condition(2), 1..12),
        requests in proptest::collection::vec(asked(), 1..8),
    ) {
        let text: String =
            conditions.iter().map(|condition| format!("[[guard.rule]]\n{condition}\nlog = true\n")).collect();
        let rules = rules(&text);
        let together = RuleSet::new(&rules);
        for asked in &requests {
            let wanted: Vec<u32> =
                rules.iter().filter(|rule| plainly(&rule.condition, asked)).map(|rule| rule.line).collect();
            let found: Vec<u32> = all_holding(&together, asked)
                .iter()
                .map(|label| label.rsplit(':').next().unwrap().parse().unwrap())
                .collect();
            prop_assert_eq!(found, wanted, "{}\n{:?}", text, asked);
        }
    }
}
