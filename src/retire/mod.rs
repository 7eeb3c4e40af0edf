//! May a domain be deregistered? Whoever registers it next gets its visitors, its mail and its links.
//!
//! [`judge`] is a pure function of what was found out ([`Facts`]) and of what is asked for ([`Demands`]). [`dns`] asks what else
//! depends on the domain, [`evidence`] keeps what was found, signed.
//!
//! Owns: the questions, the verdict and the evidence. Never does: changes of any kind; it deregisters nothing.
//!
//! Invariants: what is not known is never taken for a yes; every reason says what to do; evidence names what was changed in it.
//!
//! Called by: `cli`.

pub mod dns;
pub mod evidence;

use serde::Serialize;

/// What was found out about a site. Written into the evidence as it is.
#[derive(Clone, Debug, Serialize)]
pub struct Facts {
    /// Which site.
    pub site: SiteFacts,
    /// What was asked for; the reason why that is not known.
    pub hits: Result<HitFacts, String>,
    /// Certificates that cover its hosts; the reason why that is not known.
    pub certificates: Result<Vec<CertificateFacts>, String>,
    /// What DNS says of its names.
    pub names: Vec<dns::NameFacts>,
    /// Hosts of other sites below its names.
    pub others_below: Vec<OtherHost>,
}

/// The site, as its files say.
#[derive(Clone, Debug, Serialize)]
pub struct SiteFacts {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Who may edit its files.
    pub owner: Option<String>,
    /// Site identification code.
    pub code: Option<String>,
    /// Its hosts.
    pub hosts: Vec<String>,
    /// Its phase now.
    pub phase: &'static str,
    /// When each phase began or begins: name, and moment in Unix seconds.
    pub lifecycle: Vec<(&'static str, i64)>,
}

/// What was asked for, in a period.
#[derive(Clone, Debug, Default, Serialize)]
pub struct HitFacts {
    /// First day.
    pub since: String,
    /// Last day.
    pub until: String,
    /// The first day of the period of which the database has hits of any site.
    pub counted_since: Option<String>,
    /// How many days that is after the first.
    pub uncounted_days: u32,
    /// All.
    pub hits: u64,
    /// Those by bots.
    pub bots: u64,
    /// Those of URLs that nothing was said of.
    pub unmapped: u64,
    /// Hosts whose pages lead there, with how many came, those with the most first.
    pub referrers: Vec<(String, u64)>,
    /// What was asked for most, with how often.
    pub urls: Vec<(String, u64)>,
}

/// A certificate for hosts of the site.
#[derive(Clone, Debug, Serialize)]
pub struct CertificateFacts {
    /// Its file.
    pub file: String,
    /// SHA-256 of it.
    pub sha256: String,
    /// When it ends, Unix seconds.
    pub ends: i64,
    /// Whether it is valid now.
    pub is_valid: bool,
    /// Whether the gateway renews it.
    pub is_renewed: bool,
    /// Hosts of the site that it covers.
    pub covers: Vec<String>,
    /// Other names that it covers, which need another one before it is revoked.
    pub others: Vec<String>,
}

/// A host that another site has.
#[derive(Clone, Debug, Serialize)]
pub struct OtherHost {
    /// The host.
    pub host: String,
    /// Its site.
    pub site: String,
}

/// What must be so.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Demands {
    /// The days of hits that are looked at.
    pub days: u32,
    /// Requests by people in that time, at most.
    pub hits: u64,
    /// Referrals from one host in that time, at most.
    pub referrals: u64,
    /// Days since notice or redirects began, at least.
    pub redirected: u32,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Nothing speaks against it.
    Yes,
    /// Something does.
    NotYet,
    /// Nothing that is known does, but not all is known.
    Unknown,
}

/// What a finding means for the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// As it must be.
    Fine,
    /// It speaks against.
    Against,
    /// It is not known.
    Unknown,
    /// To be done, before or after; it speaks neither for nor against.
    ToDo,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What: `phase`, `hits`, `referrers`, `certificates`, `dns`, `mail`, `hosts`.
    pub what: &'static str,
    /// What it means.
    pub weight: Weight,
    /// In words, with what to do.
    pub text: String,
}

/// The verdict, and what it is made of.
#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    /// The answer.
    pub verdict: Verdict,
    /// All that was looked at.
    pub findings: Vec<Finding>,
}

/// Judges at `now` (Unix seconds).
pub fn judge(facts: &Facts, demands: &Demands, now: i64) -> Judgement {
    let mut findings = Vec::new();
    let mut say = |what, weight, text: String| findings.push(Finding { what, weight, text });
    life(&facts.site, demands, now, &mut say);
    hits(facts, demands, &mut say);
    certificates(facts, now, &mut say);
    for other in &facts.others_below {
        say(
            "hosts",
            Weight::Against,
            format!("{} is a host of the site {}: it would be lost too", other.host, other.site),
        );
    }
    for name in &facts.names {
        name_findings(name, &mut say);
    }
    let has = |weight| findings.iter().any(|finding| finding.weight == weight);
    let verdict = match () {
        () if has(Weight::Against) => Verdict::NotYet,
        () if has(Weight::Unknown) || facts.names.is_empty() => Verdict::Unknown,
        () => Verdict::Yes,
    };
    Judgement { verdict, findings }
}

type Say<'a> = dyn FnMut(&'static str, Weight, String) + 'a;

fn life(site: &SiteFacts, demands: &Demands, now: i64, say: &mut Say<'_>) {
    if matches!(site.phase, "archive" | "retired") {
        say("phase", Weight::Fine, format!("the site is in the phase `{}`", site.phase));
    } else {
        let text =
            "its URLs are still redirected or served: say when `archive` begins in [lifecycle], and ask again then";
        say("phase", Weight::Against, format!("the site is in the phase `{}`: {text}", site.phase));
    }
    let begun = site.lifecycle.iter().filter(|(phase, _)| matches!(*phase, "notice" | "redirect"));
    match begun.map(|&(_, at)| at).min() {
        None => say(
            "phase",
            Weight::Unknown,
            "its file does not say since when it was redirected: add `redirect = DATE` to [lifecycle]".to_owned(),
        ),
        Some(at) => {
            let days = now.saturating_sub(at).div_euclid(86_400);
            let enough = days >= i64::from(demands.redirected);
            let text = match days {
                days if days < 0 => "its notice or redirects have not begun".to_owned(),
                _ => format!("notice or redirects began {days} days ago"),
            };
            let text = if enough { text } else { format!("{text}; search engines want {} days", demands.redirected) };
            say("phase", if enough { Weight::Fine } else { Weight::Against }, text);
        }
    }
}

fn hits(facts: &Facts, demands: &Demands, say: &mut Say<'_>) {
    let hits = match &facts.hits {
        Ok(hits) => hits,
        Err(why) => return say("hits", Weight::Unknown, format!("nobody knows how often it was asked for: {why}")),
    };
    let people = hits.hits.saturating_sub(hits.bots);
    let text = format!("{people} requests by people and {} by bots from {} to {}", hits.bots, hits.since, hits.until);
    if people > demands.hits {
        say("hits", Weight::Against, format!("{text}; near zero is at most {} by people", demands.hits));
    } else if hits.uncounted_days > MOST_UNCOUNTED {
        let since = hits.counted_since.as_deref().unwrap_or("never");
        let text =
            format!("{text}, but hits were counted since {since} only: ask again when {} days were", demands.days);
        say("hits", Weight::Unknown, text);
    } else {
        say("hits", Weight::Fine, text);
    }
    let linking: Vec<String> = hits
        .referrers
        .iter()
        .filter(|(_, count)| *count > demands.referrals)
        .map(|(host, count)| format!("{host} ({count})"))
        .collect();
    if linking.is_empty() {
        say("referrers", Weight::Fine, format!("no host has sent more than {} visitors", demands.referrals));
    } else {
        let text = format!("still linked from {}: ask them to change their links", shortened(&linking));
        say("referrers", Weight::Against, text);
    }
}

fn certificates(facts: &Facts, now: i64, say: &mut Say<'_>) {
    let all = match &facts.certificates {
        Ok(all) => all,
        Err(why) => return say("certificates", Weight::Unknown, format!("certificates can't be read: {why}")),
    };
    for info in all.iter().filter(|info| info.is_valid) {
        let days = info.ends.saturating_sub(now).div_euclid(86_400);
        let mut text = format!("{} covers {} for {days} days more", info.file, shortened(&info.covers));
        text += if info.is_renewed { "; it would be renewed: set `acme = false` in the site's file" } else { "" };
        text += "; revoke it when the domain goes, since its next owner could not be told from you";
        if !info.others.is_empty() {
            text += &format!(", after {} got another one", shortened(&info.others));
        }
        say("certificates", Weight::ToDo, text);
    }
    if !all.iter().any(|info| info.is_valid) {
        say("certificates", Weight::Fine, "no valid certificate covers its hosts".to_owned());
    }
}

fn name_findings(name: &dns::NameFacts, say: &mut Say<'_>) {
    let dns::NameFacts { name: host, records, below, unanswered, .. } = name;
    if !unanswered.is_empty() {
        let text = format!("{host}: DNS did not answer for {}: ask again", shortened(unanswered));
        say("dns", Weight::Unknown, text);
    }
    let of = |kind: &str| -> Vec<String> {
        records.iter().filter(|record| record.kind == kind).map(|record| record.data.clone()).collect()
    };
    // RFC 7505: `0 .` says that there is no mail.
    let mail: Vec<String> = of("MX").into_iter().filter(|data| data.split_whitespace().nth(1) != Some(".")).collect();
    if !mail.is_empty() {
        let text =
            format!("{host} gets mail by {}: who registers it next reads it. Move the mailboxes", shortened(&mail));
        say("mail", Weight::Against, text);
    }
    let sends = of("TXT").into_iter().filter(|text| text.contains("v=spf1"));
    let sends: Vec<String> = sends.filter(|text| !text.contains("v=spf1 -all")).collect();
    if !sends.is_empty() {
        let text = format!("{host} sends mail ({}): end that, and publish `v=spf1 -all`", shortened(&sends));
        say("mail", Weight::Against, text);
    }
    let services = of("SRV");
    if !services.is_empty() {
        let text = format!("services are found by {host}: {}. Move them, and delete the records", shortened(&services));
        say("dns", Weight::Against, text);
    }
    let delegated = of("NS");
    if !delegated.is_empty() {
        say(
            "dns",
            Weight::ToDo,
            format!("{host} is a zone of its own at {}: delete it there too", shortened(&delegated)),
        );
    }
    let proofs: Vec<String> = of("TXT").into_iter().filter(|text| !text.contains("v=spf1")).collect();
    if !proofs.is_empty() {
        let text = format!("{host} has TXT records ({}): accounts that they prove must be closed", shortened(&proofs));
        say("dns", Weight::ToDo, text);
    }
    if !below.is_empty() {
        let text = format!("other names below {host} are in use: {}. Find out whose they are", shortened(below));
        say("hosts", Weight::Against, text);
    }
    if records.is_empty() && unanswered.is_empty() {
        say("dns", Weight::Fine, format!("{host} has no records"));
    }
}

/// The first few of a list.
fn shortened(list: &[String]) -> String {
    let shown: Vec<String> = list.iter().take(SHOWN).map(|text| text.chars().take(LONGEST).collect()).collect();
    let more = if list.len() > SHOWN { format!(" and {} more", list.len() - SHOWN) } else { String::new() };
    shown.join(", ") + &more
}

const SHOWN: usize = 5;
const LONGEST: usize = 120;
/// Days at the beginning of the period of which nothing was counted: a site that nobody asks for has such.
const MOST_UNCOUNTED: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 86_400;

    fn facts() -> Facts {
        Facts {
            site: SiteFacts {
                id: "jyj".into(),
                name: "青山县教育局".into(),
                owner: None,
                code: None,
                hosts: vec!["jyj.qingshan.example".into()],
                phase: "archive",
                lifecycle: vec![("redirect", 0), ("archive", 100 * DAY)],
            },
            hits: Ok(HitFacts::default()),
            certificates: Ok(Vec::new()),
            names: vec![dns::NameFacts { name: "jyj.qingshan.example".into(), ..dns::NameFacts::default() }],
            others_below: Vec::new(),
        }
    }

    const DEMANDS: Demands = Demands { days: 90, hits: 30, referrals: 5, redirected: 365 };

    fn verdict(change: impl FnOnce(&mut Facts)) -> Verdict {
        let mut facts = facts();
        change(&mut facts);
        judge(&facts, &DEMANDS, 500 * DAY).verdict
    }

    fn record(kind: &str, data: &str) -> dns::Record {
        dns::Record { name: "jyj.qingshan.example".into(), kind: kind.into(), data: data.into() }
    }

    #[test]
    fn all_must_be_known_and_nothing_speak_against() {
        assert_eq!(verdict(|_| {}), Verdict::Yes);
        assert_eq!(verdict(|facts| facts.hits = Err("no database".into())), Verdict::Unknown);
        assert_eq!(verdict(|facts| facts.certificates = Err("no folder".into())), Verdict::Unknown);
        assert_eq!(verdict(|facts| facts.names.clear()), Verdict::Unknown);
        assert_eq!(verdict(|facts| facts.names[0].unanswered.push("MX".into())), Verdict::Unknown);
        assert_eq!(verdict(|facts| facts.site.lifecycle.clear()), Verdict::Unknown);
        assert_eq!(verdict(|facts| facts.hits.as_mut().unwrap().uncounted_days = 4), Verdict::Unknown);
        assert_eq!(verdict(|facts| facts.site.phase = "redirect"), Verdict::NotYet);
        assert_eq!(verdict(|facts| facts.site.lifecycle[0].1 = 135 * DAY), Verdict::Yes);
        assert_eq!(verdict(|facts| facts.site.lifecycle[0].1 = 135 * DAY + 1), Verdict::NotYet);
        assert_eq!(
            verdict(|facts| facts.names[0].records.push(record("MX", "10 mx.qingshan.example."))),
            Verdict::NotYet
        );
        assert_eq!(verdict(|facts| facts.names[0].records.push(record("MX", "0 ."))), Verdict::Yes);
        assert_eq!(verdict(|facts| facts.names[0].records.push(record("A", "192.0.2.1"))), Verdict::Yes);
        assert_eq!(verdict(|facts| facts.names[0].records.push(record("TXT", "v=spf1 mx -all"))), Verdict::NotYet);
        assert_eq!(verdict(|facts| facts.names[0].records.push(record("TXT", "v=spf1 -all"))), Verdict::Yes);
        assert_eq!(verdict(|facts| facts.names[0].below.push("oa.jyj.qingshan.example".into())), Verdict::NotYet);
    }

    #[test]
    fn people_count_and_bots_do_not() {
        let with = |hits, bots| verdict(move |facts| facts.hits = Ok(HitFacts { hits, bots, ..HitFacts::default() }));
        assert_eq!([with(30, 0), with(31, 0), with(9030, 9000)], [Verdict::Yes, Verdict::NotYet, Verdict::Yes]);
        let linked = |count| {
            verdict(move |facts| facts.hits.as_mut().unwrap().referrers.push(("www.lanjiang.example".into(), count)))
        };
        assert_eq!([linked(5), linked(6)], [Verdict::Yes, Verdict::NotYet]);
    }

    #[test]
    fn what_speaks_against_counts_more_than_what_is_not_known() {
        let verdict = verdict(|facts| {
            facts.hits = Err("no database".into());
            facts.site.phase = "redirect";
        });
        assert_eq!(verdict, Verdict::NotYet);
    }
}
