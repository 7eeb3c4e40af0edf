//! What a client says it is.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickBuilder, MatchKind};

/// Who asks, by the word of `User-Agent`: a program that passes for a browser is taken for a person. (Who a crawler really is,
/// the guard asks DNS; for a share of hits, and for what is no secret, its word will do.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Agent {
    /// A browser.
    Person,
    /// Who reads pages to find them again: search engines, archives, previews of links.
    Crawler,
    /// Any other program, and who says nothing: every browser does.
    Program,
}

impl Agent {
    /// Who has this `User-Agent`. Some hundred nanoseconds: not for every request.
    pub fn of(user_agent: &[u8]) -> Agent {
        let Some(words) = &*WORDS else { return Agent::Person };
        if user_agent.is_empty() {
            return Agent::Program;
        }
        let user_agent = user_agent.get(..LOOKED_AT).unwrap_or(user_agent);
        let mut agent = Agent::Person;
        for word in words.find_iter(user_agent) {
            let word = word.pattern().as_usize();
            if word >= NO_PROGRAMS.len() + CRAWLERS.len() {
                agent = Agent::Program;
            } else if word >= NO_PROGRAMS.len() {
                return Agent::Crawler;
            }
        }
        agent
    }
}

/// The words below. A handful of short ones: that they can't be built is a fault of the program, which tests would find.
static WORDS: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let words = NO_PROGRAMS.iter().chain(CRAWLERS).chain(PROGRAMS);
    AhoCorasickBuilder::new().ascii_case_insensitive(true).match_kind(MatchKind::LeftmostFirst).build(words).ok()
});

/// Bytes of a `User-Agent` that are looked at.
const LOOKED_AT: usize = 512;

/// What has a word of a program in it and is a person's: makers of telephones.
const NO_PROGRAMS: &[&str] = &["cubot"];

/// Words of crawlers, whatever their case. The first three cover most: Googlebot, bingbot, Baiduspider, 360Spider, YisouSpider,
/// Sogou web spider, Bytespider, PetalBot, YandexBot, UptimeRobot, DuckDuckBot, AhrefsBot, Applebot, …
const CRAWLERS: &[&str] = &[
    "bot",
    "spider",
    "crawl",
    // Search engines and archives that say it otherwise.
    "slurp",
    "sogou inst",
    "sogou head",
    "sogou orion",
    "baidu-yunguance",
    "baidu-transcoder",
    "mediapartners-google",
    "google-inspectiontool",
    "google-read-aloud",
    "feedfetcher",
    "feedburner",
    "facebookexternalhit",
    "bingpreview",
    "archiver",
    "heritrix",
    "wayback",
    "httrack",
    "webcopier",
    "webzip",
];

/// Words of other programs.
const PROGRAMS: &[&str] = &[
    "wget",
    "curl/",
    // Libraries.
    "python",
    "aiohttp",
    "scrapy",
    "go-http-client",
    "java/",
    "apache-httpclient",
    "apache-httpasyncclient",
    "okhttp",
    "jakarta",
    "libwww",
    "lwp::",
    "winhttp",
    "mechanize",
    "node-fetch",
    "axios/",
    "undici",
    "guzzle",
    "php/",
    "ruby",
    "reqwest",
    "hyper/",
    "restsharp",
    "powershell",
    "postmanruntime",
    "insomnia",
    "httpie",
    "libcurl",
    // Browsers without anybody before them.
    "headless",
    "phantomjs",
    "puppeteer",
    "playwright",
    "selenium",
    // Monitors, load generators and scanners.
    "monitor",
    "pingdom",
    "statuscake",
    "nagios",
    "check_http",
    "zabbix",
    "prometheus",
    "blackbox",
    "kube-probe",
    "healthcheck",
    "haproxy",
    "apachebench",
    "wrk/",
    "jmeter",
    "siege/",
    "lighthouse",
    "validator",
    "linkcheck",
    "link checker",
    "xenu link",
    "nmap",
    "masscan",
    "zgrab",
    "censys",
    "nuclei",
    "nikto",
    "sqlmap",
    "nessus",
    "openvas",
    "acunetix",
    "probe",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crawlers_programs_and_people() {
        assert!(WORDS.is_some());
        for crawler in [
            "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/103 Safari/537.36; 360Spider",
            "Sogou web spider/4.0(+http://www.sogou.com/docs/help/webmasters.htm#07)",
            "Mozilla/5.0 (Linux; Android 5.0) AppleWebKit/537.36 Mobile Safari/537.36 (compatible; Bytespider; spider-feedback@bytedance.com)",
            "YisouSpider",
            "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
            "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X) (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Mozilla/5.0 (Linux; Android 9; CUBOT X19) (compatible; Googlebot/2.1)",
        ] {
            assert_eq!(Agent::of(crawler.as_bytes()), Agent::Crawler, "{crawler}");
        }
        for program in [
            "",
            "curl/8.5.0",
            "python-requests/2.32.3",
            "Wget/1.21",
            "Go-http-client/1.1",
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/120.0 Safari/537.36",
        ] {
            assert_eq!(Agent::of(program.as_bytes()), Agent::Program, "{program}");
        }
        for person in [
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.0.49",
            "Mozilla/5.0 (Linux; Android 9; CUBOT X19 Build/PPR1) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99 Mobile Safari/537.36",
            "Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 5.1; Trident/4.0; SE 2.X MetaSr 1.0)",
            "Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko 360SE",
            "Mozilla/5.0 (Linux; U; Android 13; zh-cn) AppleWebKit/537.36 (KHTML, like Gecko) baiduboxapp/13.5 (Baidu; P1 13)",
        ] {
            assert_eq!(Agent::of(person.as_bytes()), Agent::Person, "{person}");
        }
        // Whatever the bytes, and however long.
        assert_eq!(Agent::of(&[0xFF; 70_000]), Agent::Person);
    }
}
