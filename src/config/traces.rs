//! `[traces]`: to which traces requests belong, and where those are sent.

use http::Uri;

use super::admin::Source;
use super::diagnostic::Diagnostic;
use super::keys::{Key, Kind, key};

/// The checked settings of `[traces]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceSettings {
    /// URL that spans are posted to; nothing is recorded without it.
    pub endpoint: Option<String>,
    /// Of new traces, out of a million, those that are recorded.
    pub sample: u32,
    /// The name by which the gateway is known in traces.
    pub service: String,
    /// Whether what clients say of their traces is believed, whoever they are.
    pub trust_clients: bool,
}

impl TraceSettings {
    /// The settings with these values of the keys that have defaults.
    pub(super) fn read(
        source: &Source<'_>,
        service: String,
        sample: i64,
        trust_clients: bool,
        faults: &mut Vec<Diagnostic>,
    ) -> Self {
        TraceSettings {
            endpoint: endpoint(source, faults),
            // The reader has refused other numbers.
            sample: u32::try_from(sample).unwrap_or_default(),
            service,
            trust_clients,
        }
    }

    /// A knob as TOML; none if it has no value.
    pub(super) fn knob(&self, name: &str) -> Option<String> {
        let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
        Some(match name {
            "endpoint" => quote(self.endpoint.as_ref()?),
            "sample" => (f64::from(self.sample) / 1e6).to_string(),
            "service" => quote(&self.service),
            "trust-clients" => self.trust_clients.to_string(),
            _ => return None,
        })
    }
}

fn endpoint(source: &Source<'_>, faults: &mut Vec<Diagnostic>) -> Option<String> {
    let at = source.top.table("traces")?.value.text("endpoint")?;
    let why = match at.value.parse::<Uri>() {
        Ok(uri) if !matches!(uri.scheme_str(), Some("http" | "https")) => "it does not begin with http:// or https://",
        Ok(uri) if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
            "a password does not belong into gateway.toml, which many may read"
        }
        Ok(uri) if uri.path() == "/" => "it has no path: collectors take traces at /v1/traces",
        Ok(_) => return Some(at.value.clone()),
        Err(_) => "it is no URL",
    };
    let fault = source.file.error("bad-value", at.span, format!("traces can't be sent there: {why}"));
    faults.push(fault.hint("the URL of an OpenTelemetry collector, such as `http://127.0.0.1:4318/v1/traces`"));
    None
}

/// `[traces]`.
pub(super) const TRACES: &[Key] = &[
    key(
        "endpoint",
        Kind::Text,
        "",
        "URL of an OpenTelemetry collector that takes OTLP over HTTP (JSON), such as `http://127.0.0.1:4318/v1/traces`. With https:// its certificate must be one that browsers would believe. Where absent no trace is begun and nothing is sent; traces that trusted proxies began pass through to the platforms.",
    ),
    key(
        "sample",
        Kind::Share,
        "0.01",
        "Share of new traces that are recorded, from 0 to 1. Platforms are told which, in `traceparent`. Of traces that others began, and that are believed, their word counts.",
    ),
    key("service", Kind::Text, "\"waypost\"", "The name by which the gateway is known in traces (`service.name`)."),
    key(
        "trust-clients",
        Kind::Bool,
        "false",
        "Whether everybody's `traceparent` and `tracestate` are believed, and not only those of `trusted-proxies`: whoever comes may then say what is recorded.",
    ),
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Gateway;

    fn parse(text: &str) -> (Gateway, Vec<String>) {
        let (gateway, faults) = Gateway::parse("gateway.toml", text.to_owned(), Path::new(""));
        (gateway, faults.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn nothing_is_sent_unless_somebody_says_where() {
        let traces =
            TraceSettings { endpoint: None, sample: 10_000, service: "waypost".to_owned(), trust_clients: false };
        assert_eq!(parse("").0.traces, traces);
    }

    #[test]
    fn config_prints_what_was_read() {
        for sample in ["0", "1", "0.5", "0.000001", "1e-3"] {
            let text = format!(
                "[traces]\nendpoint = \"https://otel.example/v1/traces\"\nsample = {sample}\nservice = \"w\"\ntrust-clients = true\n"
            );
            let (gateway, faults) = parse(&text);
            assert!(faults.is_empty(), "{faults:?}");
            let want = (sample.parse::<f64>().unwrap() * 1e6).round() as u32;
            assert_eq!((gateway.traces.sample, gateway.traces.trust_clients), (want, true));
            assert_eq!(parse(&gateway.to_toml()).0.traces, gateway.traces);
        }
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        for (line, want) in [
            ("endpoint = \"127.0.0.1:4318\"", "http://"),
            ("endpoint = \"grpc://127.0.0.1:4317/v1/traces\"", "http://"),
            ("endpoint = \"http://127.0.0.1:4318\"", "/v1/traces"),
            ("endpoint = \"http://a:b@127.0.0.1:4318/v1/traces\"", "password"),
            ("endpoint = \"http://a b/\"", "no URL"),
            ("sample = 1.01", "from 0 to 1"),
            ("sample = -0.1", "from 0 to 1"),
            ("sample = nan", "from 0 to 1"),
            ("sample = 2", "from 0 to 1"),
            ("sample = \"1\"", "from 0 to 1"),
        ] {
            let (gateway, faults) = parse(&format!("[traces]\n{line}\n"));
            assert!(faults.len() == 1 && faults[0].contains(want), "{line}: {faults:?}");
            assert_eq!(gateway.traces, parse("").0.traces, "{line}");
        }
    }
}
