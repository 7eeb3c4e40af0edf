//! Rules, by promtool: that they are rules, and that each alert fires when it should, and only then.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use saphyr::{LoadableYamlNode, Yaml};
use waypost::dashboards::{RUNBOOK, files};

use super::has;

/// An alert, as Prometheus reads it.
pub struct Alert {
    pub name: String,
    pub query: String,
    pub severity: String,
}

/// The text of a file that the program makes.
pub fn made(path: &str) -> String {
    let files = files(RUNBOOK);
    files.into_iter().find(|file| file.path == path).unwrap_or_else(|| panic!("no {path}")).text
}

/// All alerts, in their order.
pub fn alerts() -> Vec<Alert> {
    let text = made("prometheus/alerts.rules.yml");
    let rules = rules(&text);
    let alert = |rule: &BTreeMap<String, String>| Alert {
        name: rule["alert"].clone(),
        query: rule["expr"].clone(),
        severity: rule["severity"].clone(),
    };
    rules.iter().map(alert).collect()
}

/// All recording rules: names and queries.
pub fn records() -> Vec<(String, String)> {
    let text = made("prometheus/recording.rules.yml");
    rules(&text).into_iter().map(|rule| (rule["record"].clone(), rule["expr"].clone())).collect()
}

fn rules(text: &str) -> Vec<BTreeMap<String, String>> {
    let yaml = Yaml::load_from_str(text).unwrap();
    let groups = yaml[0]["groups"].as_sequence().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_sequence().unwrap());
    let texts = |rule: &Yaml<'_>| {
        let labels = rule.as_mapping_get("labels");
        let all = [("alert", Some(rule)), ("record", Some(rule)), ("expr", Some(rule)), ("severity", labels)];
        let text = |(key, of): (&str, Option<&Yaml<'_>>)| {
            Some((key.to_owned(), of?.as_mapping_get(key)?.as_str()?.to_owned()))
        };
        all.into_iter().filter_map(text).collect()
    };
    rules.map(texts).collect()
}

/// Names of the groups of rules, in their order.
fn groups(text: &str) -> Vec<String> {
    let yaml = Yaml::load_from_str(text).unwrap();
    let groups = yaml[0]["groups"].as_sequence().unwrap();
    groups.iter().map(|group| group.as_mapping_get("name").unwrap().as_str().unwrap().to_owned()).collect()
}

/// What is measured, and which alerts must fire then: labels and summary of each.
struct Case {
    alert: &'static str,
    /// Series, and their values each [`Case::step`], as promtool writes them.
    series: Vec<(String, &'static str)>,
    step: Step,
    at: &'static str,
    fires: Vec<(&'static str, &'static str)>,
}

/// Time between two values, and two evaluations.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Minute,
    /// Where days are looked back.
    HalfHour,
}

fn case(
    alert: &'static str,
    at: &'static str,
    series: &[(&str, &'static str)],
    fires: &[(&'static str, &'static str)],
) -> Case {
    let series = series.iter().map(|(series, values)| ((*series).to_owned(), *values)).collect();
    Case { alert, series, step: Step::Minute, at, fires: fires.to_vec() }
}

fn slow(case: Case) -> Case {
    Case { step: Step::HalfHour, ..case }
}

const NODE: &str = "\"instance\":\"a\"";

fn cases() -> Vec<Case> {
    const SERVED: &str =
        r#"waypost_site_requests_total{site="jyj",owner="q",outcome="serve",status="2xx",lane="session"}"#;
    const BROKEN: &str =
        r#"waypost_site_requests_total{site="jyj",owner="q",outcome="serve",status="5xx",lane="session"}"#;
    const FROZEN: &str =
        r#"waypost_site_requests_total{site="jyj",owner="q",outcome="frozen",status="5xx",lane="fast"}"#;
    const UNMAPPED: &str = r#"waypost_site_unmapped_total{site="jyj",owner="q"}"#;
    const GOOD: &str = r#"waypost_requests_total{instance="a",outcome="redirect",status="3xx"}"#;
    const BAD: &str = r#"waypost_requests_total{instance="a",outcome="serve",status="5xx"}"#;
    const HEALTH: &str = r#"waypost_requests_total{instance="a",outcome="health",status="5xx"}"#;
    const UP_A: &str = r#"waypost_platform_origin_up{instance="a",platform="p",origin="https://10.0.0.1"}"#;
    const UP_B: &str = r#"waypost_platform_origin_up{instance="a",platform="p",origin="https://10.0.0.2"}"#;
    const LOOPS: &str = r#"waypost_redirect_loops_total{instance="a"}"#;
    const HOME_4: &str = r#"waypost_monitor_up{instance="a",page="https://h.example/",family="ipv4"}"#;
    const HOME_6: &str = r#"waypost_monitor_up{instance="a",page="https://h.example/",family="ipv6"}"#;
    const VETO: &str = r#"waypost_monitor_veto{instance="a",page="https://h.example/",family="ipv4"}"#;
    const VISITS: &str = r#"waypost_monitor_week_visits{instance="a",page="https://h.example/",family="ipv4"}"#;
    const VISITS_B: &str = r#"waypost_monitor_week_visits{instance="b",page="https://h.example/",family="ipv4"}"#;
    const FAILURES: &str = r#"waypost_monitor_week_failures{instance="a",page="https://h.example/",family="ipv4"}"#;
    const MEAN: &str = r#"waypost_monitor_week_mean_seconds{instance="a",page="https://h.example/",family="ipv4"}"#;
    const MONITOR: &str = r#"waypost_monitor_failing{instance="a"}"#;
    const HIJACKED: &str = r#"waypost_verify_targets{instance="a",kind="hijack"}"#;
    const DEAD: &str = r#"waypost_verify_targets{instance="a",kind="dead"}"#;
    const LOOKED: &str = r#"waypost_verify_targets_looked_at{instance="a"}"#;
    const FAULTY: &str = r#"waypost_site_faulty{instance="a",site="jyj"}"#;
    const LAST: &str = r#"waypost_reload_last_timestamp_seconds{instance="a"}"#;
    const LAST_GOOD: &str = r#"waypost_reload_last_success_timestamp_seconds{instance="a"}"#;
    const EXPIRY: &str = r#"waypost_certificate_expiry_timestamp_seconds{instance="a",name="jyj.example"}"#;
    const EXPIRY_B: &str = r#"waypost_certificate_expiry_timestamp_seconds{instance="b",name="jyj.example"}"#;
    const CERTIFICATES: &str = r#"waypost_certificate_faulty{instance="a"}"#;
    const ORDERS_FAILING: &str = r#"waypost_acme_failing{instance="a"}"#;
    const NAMES_FAILING: &str = r#"waypost_acme_names{instance="a",state="failing"}"#;
    const FOLDER: &str = r#"waypost_certificates_unreadable{instance="a"}"#;
    const NODES: &str = r#"up{job="waypost",instance="a"}"#;
    const SITES: &str = r#"up{job="waypost-sites",instance="a"}"#;
    const CPU: &str = r#"process_cpu_seconds_total{job="waypost",instance="a"}"#;
    const THREADS: &str = r#"waypost_worker_threads{instance="a"}"#;
    const FDS: &str = r#"process_open_fds{job="waypost",instance="a"}"#;
    const MAX_FDS: &str = r#"process_max_fds{job="waypost",instance="a"}"#;
    const HTTP: &str = r#"waypost_connections_open{instance="a",listener="http"}"#;
    const HTTPS: &str = r#"waypost_connections_open{instance="a",listener="https"}"#;
    const LIMIT: &str = r#"waypost_connections_limit{instance="a"}"#;
    const DROPPED: &str = r#"waypost_telemetry_dropped_total{instance="a"}"#;
    const LOG: &str = r#"waypost_access_log_failing{instance="a"}"#;
    const SHORT: &str = r#"waypost_access_log_retention_short{instance="a"}"#;
    const UNSAVED: &str = r#"waypost_hits_failing{instance="a"}"#;
    const LOST: &str = r#"waypost_hits_lost_total{instance="a"}"#;
    const REFUSED: &str = r#"waypost_guard_refused_total{instance="a",reason="probe"}"#;
    const CLEAN: &str = r#"waypost_waf_requests_total{instance="a",action="clean"}"#;
    const UNCHECKED: &str = r#"waypost_waf_requests_total{instance="a",action="unchecked"}"#;
    let days = |days: u32| -> &'static str { format!("{}x30", days * 86_400).leak() };
    vec![
        case(
            "WaypostSiteDown",
            "15m",
            &[(BROKEN, "0+57x30"), (SERVED, "0+3x30")],
            &[(r#""site":"jyj","owner":"q""#, "jyj is down: 95% of its requests fail")],
        ),
        // Half of them, or of too few, or pages that operators froze; or for too short a time.
        case("WaypostSiteDown", "15m", &[(BROKEN, "0+30x30"), (SERVED, "0+30x30")], &[]),
        case("WaypostSiteDown", "15m", &[(BROKEN, "0 0 0 0 0 1 1 1 1 1 2 2 2 2 2 3"), (SERVED, "0x30")], &[]),
        case("WaypostSiteDown", "15m", &[(FROZEN, "0+60x30")], &[]),
        case("WaypostSiteDown", "5m", &[(BROKEN, "0+60x30"), (SERVED, "0x30")], &[]),
        case(
            "WaypostPlatformDown",
            "5m",
            &[(UP_A, "0x9"), (UP_B, "0x9")],
            &[(r#""instance":"a","platform":"p""#, "no origin of platform p is up, as a sees it")],
        ),
        case("WaypostPlatformDown", "5m", &[(UP_A, "0x9"), (UP_B, "1x9")], &[]),
        case(
            "WaypostOriginDown",
            "15m",
            &[(UP_A, "0x19"), (UP_B, "1x19")],
            &[(
                r#""instance":"a","platform":"p","origin":"https://10.0.0.1""#,
                "origin https://10.0.0.1 of platform p is down, as a sees it",
            )],
        ),
        case("WaypostOriginDown", "15m", &[(UP_A, "0 0 0 0 1x19"), (UP_B, "1x19")], &[]),
        // 2 % over an hour; 1 % over six; but not what is over, and no checks of load balancers.
        case(
            "WaypostErrorBudgetBurnsFast",
            "70m",
            &[(GOOD, "0+980x90"), (BAD, "0+20x90")],
            &[("", "2% of all requests fail")],
        ),
        case(
            "WaypostErrorBudgetBurnsFast",
            "6h",
            &[(GOOD, "0+990x400"), (BAD, "0+10x400")],
            &[("", "1% of all requests fail")],
        ),
        case("WaypostErrorBudgetBurnsFast", "85m", &[(GOOD, "0+1000x90"), (BAD, "0+100x50 5000x40")], &[]),
        case("WaypostErrorBudgetBurnsFast", "70m", &[(GOOD, "0+1000x90"), (HEALTH, "0+1000x90")], &[]),
        case("WaypostErrorBudgetBurnsFast", "70m", &[(GOOD, "0+1000x90"), (BAD, "0+1x90")], &[]),
        slow(case(
            "WaypostErrorBudgetBurns",
            "80h",
            &[(GOOD, "0+998x200"), (BAD, "0+2x200")],
            &[("", "0.2% of all requests have failed over three days")],
        )),
        slow(case("WaypostErrorBudgetBurns", "80h", &[(GOOD, "0+9998x200"), (BAD, "0+2x200")], &[])),
        // Over for more than six hours.
        slow(case("WaypostErrorBudgetBurns", "80h", &[(GOOD, "0+998x200"), (BAD, "0+2x140 280x60")], &[])),
        // 200 in an hour: a week ago there were 10.
        slow(case(
            "WaypostUnmappedSurge",
            "170h",
            &[(UNMAPPED, "0+5x330 1650+100x20"), (SERVED, "0+1000x350")],
            &[(r#""site":"jyj","owner":"q""#, "200 requests in an hour for old URLs of jyj that lead nowhere")],
        )),
        // As many as ever; few; and where there is no week before, a quarter of all, or nearly all.
        slow(case("WaypostUnmappedSurge", "170h", &[(UNMAPPED, "0+100x350"), (SERVED, "0+1000x350")], &[])),
        slow(case("WaypostUnmappedSurge", "170h", &[(UNMAPPED, "0+1x330 330+40x20"), (SERVED, "0+1000x350")], &[])),
        slow(case("WaypostUnmappedSurge", "4h", &[(UNMAPPED, "0+250x350"), (SERVED, "0+1000x350")], &[])),
        slow(case(
            "WaypostUnmappedSurge",
            "4h",
            &[(UNMAPPED, "0+900x350"), (SERVED, "0+1000x350")],
            &[(r#""site":"jyj","owner":"q""#, "1.8k requests in an hour for old URLs of jyj that lead nowhere")],
        )),
        case(
            "WaypostRedirectLoop",
            "5m",
            &[(LOOPS, "0 0 0 1 1 1")],
            &[(NODE, "clients go round in circles, as a sees it")],
        ),
        case("WaypostRedirectLoop", "30m", &[(LOOPS, "0 0 0 1x40")], &[]),
        case(
            "WaypostHomeDown",
            "70m",
            &[(HOME_4, "0x90"), (HOME_6, "0x90")],
            &[(r#""page":"https://h.example/""#, "https://h.example/ does not open")],
        ),
        // One visit alone; by one family only.
        case("WaypostHomeDown", "70m", &[(HOME_4, "1x9 0x59 1x30")], &[]),
        case("WaypostHomeDown", "70m", &[(HOME_4, "0x90"), (HOME_6, "1x90")], &[]),
        case(
            "WaypostHomeVeto",
            "5m",
            &[(VETO, "1x9")],
            &[(
                r#""page":"https://h.example/","family":"ipv4""#,
                "https://h.example/ did not open in 5 % or more of a week's visits by ipv4",
            )],
        ),
        case("WaypostHomeVeto", "5m", &[(VETO, "0x9")], &[]),
        // Two nodes that show the same.
        case(
            "WaypostHomeNearVeto",
            "5m",
            &[(VISITS, "1000x9"), (VISITS_B, "1000x9"), (FAILURES, "49x9")],
            &[(
                r#""page":"https://h.example/","family":"ipv4""#,
                "https://h.example/ did not open in 4.9% of a week's visits by ipv4",
            )],
        ),
        case("WaypostHomeNearVeto", "5m", &[(VISITS, "1000x9"), (FAILURES, "50x9")], &[]),
        case("WaypostHomeNearVeto", "5m", &[(VISITS, "1000x9"), (FAILURES, "29x9")], &[]),
        case("WaypostHomeNearVeto", "5m", &[(VISITS, "100x9"), (FAILURES, "4x9")], &[]),
        case(
            "WaypostHomeWithoutIPv6",
            "70m",
            &[(HOME_4, "1x90"), (HOME_6, "0x90")],
            &[(r#""page":"https://h.example/""#, "https://h.example/ opens by IPv4 but not by IPv6")],
        ),
        case("WaypostHomeWithoutIPv6", "70m", &[(HOME_4, "1x90")], &[]),
        case("WaypostHomeWithoutIPv6", "70m", &[(HOME_4, "0x90"), (HOME_6, "0x90")], &[]),
        case(
            "WaypostHomeSlow",
            "70m",
            &[(VISITS, "168x90"), (MEAN, "3.5x90")],
            &[(r#""page":"https://h.example/","family":"ipv4""#, "https://h.example/ takes 3.5s to open by ipv4")],
        ),
        case("WaypostHomeSlow", "70m", &[(VISITS, "168x90"), (MEAN, "3x90")], &[]),
        case(
            "WaypostHijackSigns",
            "5m",
            &[(HIJACKED, "2x9"), (DEAD, "0x9")],
            &[("", "2 pages that old addresses lead to show signs of a hijack")],
        ),
        case("WaypostHijackSigns", "5m", &[(HIJACKED, "0x9"), (DEAD, "5x9")], &[]),
        case(
            "WaypostDeadTargets",
            "5m",
            &[(DEAD, "20x9"), (LOOKED, "1000x9")],
            &[("", "2% of the pages that old addresses lead to are dead")],
        ),
        // Few, or a small share.
        case("WaypostDeadTargets", "5m", &[(DEAD, "10x9"), (LOOKED, "20x9")], &[]),
        case("WaypostDeadTargets", "5m", &[(DEAD, "20x9"), (LOOKED, "2000x9")], &[]),
        case(
            "WaypostMonitorFailing",
            "40m",
            &[(MONITOR, "1x50")],
            &[(NODE, "a visits no homes: the database takes nothing")],
        ),
        case("WaypostMonitorFailing", "20m", &[(MONITOR, "1x50")], &[]),
        case(
            "WaypostSiteFaulty",
            "70m",
            &[(FAULTY, "1x90")],
            &[(r#""site":"jyj""#, "the files of jyj have had errors for an hour")],
        ),
        case("WaypostSiteFaulty", "70m", &[(FAULTY, "1x30 _x60")], &[]),
        case(
            "WaypostReloadFailed",
            "20m",
            &[(LAST, "600x30"), (LAST_GOOD, "500x30")],
            &[(NODE, "a can't read its routes without errors")],
        ),
        case("WaypostReloadFailed", "20m", &[(LAST, "600x30"), (LAST_GOOD, "600x30")], &[]),
        case(
            "WaypostCertificateExpiresSoon",
            "70m",
            &[long((EXPIRY, days(20))), long((EXPIRY_B, days(30)))],
            &[(r#""name":"jyj.example""#, "the certificate of jyj.example expires in 19d 22h 50m 0s")],
        ),
        case("WaypostCertificateExpiresSoon", "70m", &[long((EXPIRY, days(22)))], &[]),
        case("WaypostCertificateExpiresSoon", "70m", &[long((EXPIRY, days(6)))], &[]),
        case(
            "WaypostCertificateExpiresNow",
            "15m",
            &[(EXPIRY, days(6))],
            &[(r#""name":"jyj.example""#, "the certificate of jyj.example expires in 5d 23h 45m 0s")],
        ),
        case("WaypostCertificateExpiresNow", "15m", &[(EXPIRY, days(8))], &[]),
        case("WaypostCertificateExpiresNow", "15m", &[(EXPIRY, "60x30")], &[]),
        case(
            "WaypostCertificateExpired",
            "15m",
            &[(EXPIRY, "600x30")],
            &[(r#""name":"jyj.example""#, "the certificate of jyj.example has expired")],
        ),
        case("WaypostCertificateExpired", "5m", &[(EXPIRY, "600x30")], &[]),
        case(
            "WaypostCertificateFaulty",
            "20m",
            &[(CERTIFICATES, "1x30"), (FOLDER, "0x30")],
            &[(NODE, "a can't use files of its certificates")],
        ),
        case(
            "WaypostCertificateFaulty",
            "20m",
            &[(CERTIFICATES, "0x30"), (FOLDER, "1x30")],
            &[(NODE, "a can't use files of its certificates")],
        ),
        case("WaypostCertificateFaulty", "20m", &[(CERTIFICATES, "0x30"), (FOLDER, "0x30")], &[]),
        case(
            "WaypostCertificateOrdersFailing",
            "70m",
            &[(ORDERS_FAILING, "1x90")],
            &[(NODE, "a gets no certificates from the authority")],
        ),
        case("WaypostCertificateOrdersFailing", "70m", &[(ORDERS_FAILING, "1x30 0 1x60")], &[]),
        slow(case(
            "WaypostCertificateNamesFailing",
            "25h",
            &[(NAMES_FAILING, "3x60")],
            &[("", "the authority could not verify 3 hosts for a day")],
        )),
        slow(case("WaypostCertificateNamesFailing", "25h", &[(NAMES_FAILING, "3x20 0 3x40")], &[])),
        case(
            "WaypostScrapeMissing",
            "5m",
            &[(NODES, "1 1 0x9"), (SITES, "1x9")],
            &[(r#""instance":"a","job":"waypost""#, "Prometheus can't read waypost of a")],
        ),
        // The job is gone from prometheus.yml.
        case(
            "WaypostScrapeMissing",
            "5m",
            &[(NODES, "1x9")],
            &[(r#""job":"waypost-sites""#, "Prometheus can't read waypost-sites of ")],
        ),
        case("WaypostScrapeMissing", "5m", &[(NODES, "1 0 1x9"), (SITES, "1x9")], &[]),
        case(
            "WaypostNodeSaturated",
            "20m",
            &[(CPU, "0+114x30"), (THREADS, "2x30")],
            &[(r#""instance":"a","resource":"processors""#, "a has 95% of its processors in use")],
        ),
        case(
            "WaypostNodeSaturated",
            "20m",
            &[(FDS, "1000x30"), (MAX_FDS, "1024x30")],
            &[(r#""instance":"a","resource":"files and sockets""#, "a has 97.66% of its files and sockets in use")],
        ),
        case(
            "WaypostNodeSaturated",
            "20m",
            &[(HTTP, "46x30"), (HTTPS, "46x30"), (LIMIT, "100x30")],
            &[(r#""instance":"a","resource":"connections""#, "a has 92% of its connections in use")],
        ),
        case(
            "WaypostNodeSaturated",
            "20m",
            &[
                (CPU, "0+60x30"),
                (THREADS, "2x30"),
                (FDS, "100x30"),
                (MAX_FDS, "1024x30"),
                (HTTP, "46x30"),
                (HTTPS, "40x30"),
                (LIMIT, "100x30"),
            ],
            &[],
        ),
        case(
            "WaypostTelemetryDropped",
            "10m",
            &[(DROPPED, "0 0 0 0 0 15x9")],
            &[(NODE, "15 requests on a are missing in the access log and among the hits")],
        ),
        case("WaypostTelemetryDropped", "10m", &[(DROPPED, "15x19")], &[]),
        case("WaypostAccessLogFailing", "5m", &[(LOG, "1x9")], &[(NODE, "a can't write its access log")]),
        case("WaypostAccessLogFailing", "5m", &[(LOG, "0x9")], &[]),
        case("WaypostAccessLogShort", "20m", &[(SHORT, "1x30")], &[(NODE, "a removes its access log too early")]),
        case("WaypostAccessLogShort", "20m", &[(SHORT, "0x30")], &[]),
        case("WaypostHitsNotSaved", "15m", &[(UNSAVED, "1x19")], &[(NODE, "a can't save its counts of hits")]),
        case("WaypostHitsNotSaved", "15m", &[(UNSAVED, "1x9 0 1x9")], &[]),
        case("WaypostHitsLost", "10m", &[(LOST, "0 0 0 0 0 30x9")], &[(NODE, "a has lost 30 hits")]),
        case("WaypostHitsLost", "10m", &[(LOST, "30x19")], &[]),
        case(
            "WaypostGuardFlood",
            "90m",
            &[(REFUSED, "0+60x70 4200+3000x40")],
            &[(NODE, "the guard of a refuses 50 requests a second")],
        ),
        // Many, but as many as ever (a day, a value each half hour); or few.
        slow(case("WaypostGuardFlood", "30h", &[(REFUSED, "0+90000x90")], &[])),
        case("WaypostGuardFlood", "90m", &[(REFUSED, "0x70 0+600x40")], &[]),
        case(
            "WaypostFirewallUnchecked",
            "45m",
            &[(CLEAN, "0+95x60"), (UNCHECKED, "0+5x60")],
            &[(NODE, "5% of the requests to platforms on a pass the firewall unchecked")],
        ),
        case("WaypostFirewallUnchecked", "45m", &[(CLEAN, "0+1000x60"), (UNCHECKED, "0+5x60")], &[]),
    ]
}

/// The same value for longer.
fn long((series, values): (&'static str, &'static str)) -> (&'static str, &'static str) {
    (series, values.replace("x30", "x90").leak())
}

#[test]
fn every_alert_fires_when_it_should_and_only_then() {
    let cases = cases();
    for alert in alerts() {
        let of = |fires: bool| cases.iter().any(|case| case.alert == alert.name && case.fires.is_empty() != fires);
        assert!(of(true) && of(false), "{} has no case that fires, or none that is silent", alert.name);
    }
    assert!(cases.iter().all(|case| alerts().iter().any(|alert| alert.name == case.alert)));
    if !has("promtool") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let rules = ["prometheus/recording.rules.yml", "prometheus/alerts.rules.yml"];
    for (name, path) in ["recording.yml", "alerts.yml"].into_iter().zip(rules) {
        let text = made(path);
        // Summaries stand for all annotations; everything is computed at the case's own steps.
        let left_out = ["interval:", "description:", "runbook_url:"];
        let lines = text.lines().filter(|line| !left_out.iter().any(|word| line.trim().starts_with(word)));
        fs::write(folder.path().join(name), lines.collect::<Vec<_>>().join("\n")).unwrap();
    }
    // Promtool evaluates groups in any order unless it is told one, and alerts would see what was recorded a step before.
    let order: Vec<String> = rules.iter().flat_map(|path| groups(&made(path))).collect();
    for (step, name, interval) in [(Step::Minute, "minutes.yml", "1m"), (Step::HalfHour, "days.yml", "30m")] {
        let mut text = format!(
            "rule_files: [recording.yml, alerts.yml]\nevaluation_interval: {interval}\ngroup_eval_order: [{}]\ntests:\n",
            order.join(", ")
        );
        for case in cases.iter().filter(|case| case.step == step) {
            text += &case.yaml(interval);
        }
        fs::write(folder.path().join(name), text).unwrap();
        promtool(folder.path(), &["test", "rules", name]);
    }
}

impl Case {
    fn yaml(&self, interval: &str) -> String {
        let severity = alerts().into_iter().find(|alert| alert.name == self.alert).unwrap().severity;
        let mut text = format!("  - interval: {interval}\n    input_series:\n");
        for (series, values) in &self.series {
            text += &format!("      - series: '{series}'\n        values: '{values}'\n");
        }
        let (at, name) = (self.at, self.alert);
        text +=
            &format!("    alert_rule_test:\n      - eval_time: {at}\n        alertname: {name}\n        exp_alerts:\n");
        for (labels, summary) in &self.fires {
            let comma = if labels.is_empty() { "" } else { ", " };
            text += &format!("          - exp_labels: {{{labels}{comma}\"severity\": \"{severity}\"}}\n");
            text += &format!("            exp_annotations: {{\"summary\": \"{summary}\"}}\n");
        }
        text
    }
}

/// What it prints, if it is content.
fn promtool(folder: &Path, args: &[&str]) {
    let output = Command::new("promtool").args(args).current_dir(folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {args:?}:\n{said}");
}

#[test]
fn prometheus_takes_the_files() {
    if !has("promtool") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for file in files(RUNBOOK).into_iter().filter(|file| file.path.starts_with("prometheus/")) {
        fs::create_dir_all(folder.path().join("prometheus")).unwrap();
        fs::write(folder.path().join(&file.path), file.text).unwrap();
    }
    let folder = folder.path().join("prometheus");
    promtool(&folder, &["check", "rules", "recording.rules.yml", "alerts.rules.yml"]);
    // The token is a secret of the container's.
    promtool(&folder, &["check", "config", "--syntax-only", "prometheus.yml"]);
}

#[test]
fn alertmanager_takes_its_file() {
    if !has("amtool") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alertmanager.yml");
    fs::write(&path, made("alertmanager/alertmanager.yml")).unwrap();
    let output = Command::new("amtool").arg("check-config").arg(&path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    // Who is called for what.
    for (severity, receiver) in [("critical", "on-call"), ("warning", "office")] {
        let route = Command::new("amtool")
            .args(["config", "routes", "test", "--config.file"])
            .arg(&path)
            .arg(format!("severity={severity}"))
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&route.stdout).trim(), receiver);
    }
}
