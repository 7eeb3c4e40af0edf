//! Questions, as Grafana would put them.

/// With what Grafana puts in for variables: everything that can be chosen, one site, and the last half minute.
pub fn filled(query: &str, site: &str) -> String {
    let mut text = query.to_owned();
    // The longer names first.
    for (variable, value) in [
        ("$__rate_interval", "30s"),
        ("$__range", "30s"),
        ("$__interval", "1s"),
        ("$instance", ".*"),
        ("$owner", ".*"),
        ("$platform", ".*"),
        ("$site", site),
    ] {
        text = text.replace(variable, value);
    }
    assert!(!text.contains('$'), "a variable that nobody knows: {text}");
    text
}

/// What a question reads: each metric with its matchers, without what is computed of it.
pub fn selectors(query: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < query.len() {
        let rest = &query[at..];
        let name: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric() || "_:".contains(*c)).collect();
        if name.is_empty() {
            // Texts are no names.
            let skipped = match rest.strip_prefix('"') {
                Some(text) => text.find('"').unwrap() + 2,
                None => rest.chars().next().map_or(1, char::len_utf8),
            };
            at += skipped;
            continue;
        }
        at += name.len();
        let is_metric =
            ["waypost_", "waypost:", "site:", "process_", "scrape_"].iter().any(|start| name.starts_with(start));
        if !is_metric && !["up", "ALERTS"].contains(&name.as_str()) {
            continue;
        }
        let matchers = query[at..].strip_prefix('{').map_or("", |rest| &query[at..at + rest.find('}').unwrap() + 2]);
        found.push(name + matchers);
        at += matchers.len();
    }
    found
}

#[test]
fn selectors_are_found() {
    let query = "label_replace(sum by (instance) (rate(process_cpu_seconds_total{job=\"waypost\"}[5m])) / max(waypost_worker_threads), \
                 \"up\", \"process_x\", \"\", \"\") or ALERTS{a=~\"b|c\"} offset 1w unless site:waypost_requests:rate5m";
    let found = selectors(query);
    let want = [
        "process_cpu_seconds_total{job=\"waypost\"}",
        "waypost_worker_threads",
        "ALERTS{a=~\"b|c\"}",
        "site:waypost_requests:rate5m",
    ];
    assert_eq!(found, want);
}
