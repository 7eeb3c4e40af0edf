//! Patterns, regular expressions and templates of rules, compiled and matched.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waypost::{
    config::{pattern::Pattern, template::Template},
    routing::RuleSet,
    url::{Canonicalizer, UrlSettings},
};

fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.splitn(2, '\n');
    let (pattern, target) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    for settings in [UrlSettings::default(), UrlSettings { decode_path: false, ignore_case: false, ..UrlSettings::default() }] {
        let canonicalizer = Canonicalizer::new(settings, true);
        for parsed in [Pattern::parse(pattern, &canonicalizer), Pattern::regex(pattern, &canonicalizer)] {
            match parsed {
                Ok(pattern) => {
                    let _ = RuleSet::compile(&[&pattern]);
                    let _ = RuleSet::compile(&[&pattern, &pattern, &pattern, &pattern, &pattern]);
                    let _ = Template::target(target, &pattern.captures);
                    let _ = Template::path(target, &pattern.captures);
                }
                Err(faults) => {
                    assert!(!faults.is_empty() && faults.iter().all(|fault| fault.range.start <= fault.range.end));
                }
            }
        }
    }
    if let Ok((template, host)) = Template::target(target, &["id".to_owned()])
        && let Some(literal) = template.literal()
    {
        let target = waypost::model::Target::parse(literal).expect("a literal target parses as one");
        assert_eq!(target.host(), &host, "the host that the policy sees is the host that is sent");
    }
});
