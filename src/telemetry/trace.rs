//! To which trace a request belongs: W3C Trace Context, level 1 (w3.org/TR/trace-context-1).
//!
//! Traces are of requests that go to platforms. What the gateway answers by itself takes microseconds, and there is nobody
//! behind it who would go on with the trace.

use std::{cell::RefCell, fmt};

use aws_lc_rs::rand;

use crate::config::TraceSettings;

/// A span and the trace that it belongs to. It is shown as the `traceparent` of those whom it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Id of the trace; never 0.
    pub trace_id: u128,
    /// Id of the span; never 0.
    pub span_id: u64,
    /// Id of the span that it is a part of; none where the trace begins.
    pub parent_id: Option<u64>,
    /// Whether the trace is recorded.
    pub sampled: bool,
}

impl TraceContext {
    /// The span that a `traceparent` names; none if that is not valid. Of versions to come, the fields are read that the
    /// first one has, as it says (section 3.2.4).
    pub fn parse(traceparent: &[u8]) -> Option<Self> {
        let (known, rest) = traceparent.split_at_checked(LENGTH)?;
        let mut fields = known.split(|&byte| byte == b'-');
        let mut number = |digits| number(fields.next()?, digits);
        let (version, trace_id, span_id, flags) = (number(2)?, number(32)?, number(16)?, number(2)?);
        let is_whole = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|&next| next == b'-'),
        };
        let span_id = u64::try_from(span_id).ok()?;
        (is_whole && trace_id != 0 && span_id != 0).then_some(TraceContext {
            trace_id,
            span_id,
            parent_id: None,
            sampled: flags & SAMPLED != 0,
        })
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = if self.sampled { SAMPLED } else { 0 };
        write!(f, "00-{:032x}-{:016x}-{flags:02x}", self.trace_id, self.span_id)
    }
}

/// Says to which trace each request belongs.
#[derive(Clone, Copy, Debug)]
pub struct Tracer {
    /// Whether spans are recorded.
    is_on: bool,
    /// Of new traces, out of a million, those that are recorded.
    sample: u32,
    trusts_clients: bool,
}

impl Tracer {
    /// By these settings.
    pub fn new(settings: &TraceSettings) -> Self {
        Tracer { is_on: settings.endpoint.is_some(), sample: settings.sample, trusts_clients: settings.trust_clients }
    }

    /// Whether what clients say of their traces is believed, whoever they are.
    pub fn trusts_clients(&self) -> bool {
        self.trusts_clients
    }

    /// The span of a request, whose sender named `parent`, if it did and is believed. None if no trace is begun.
    ///
    /// Where nothing is recorded a trace that others began passes through as it is, since a span of ours would be missing in
    /// it; and none is begun, since platforms that record would take "not recorded" for an order.
    pub fn span(&self, parent: Option<TraceContext>) -> Option<TraceContext> {
        match parent {
            Some(parent) if self.is_on => {
                Some(TraceContext { span_id: id()?, parent_id: Some(parent.span_id), ..parent })
            }
            Some(parent) => Some(TraceContext { parent_id: Some(parent.span_id), ..parent }),
            None if self.is_on => {
                let trace_id = u128::from(id()?) << 64 | u128::from(id()?);
                // The last seven bytes of an id are random (section 3.2.2.3), so they can draw the lot.
                let lot = ((trace_id & ((1 << LOT) - 1)) * 1_000_000) >> LOT;
                let sampled = lot < u128::from(self.sample);
                Some(TraceContext { trace_id, span_id: id()?, parent_id: None, sampled })
            }
            None => None,
        }
    }
}

/// The number that has so many lower case hexadecimal digits.
fn number(digits: &[u8], count: usize) -> Option<u128> {
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if digits.len() != count || !digits.iter().all(is_digit) {
        return None;
    }
    u128::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// A random number that is not 0; none if the system has no more of them.
///
/// They are had many at a time: each time may be a call of the system.
fn id() -> Option<u64> {
    thread_local! {
        static IDS: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
    }
    IDS.with_borrow_mut(|ids| {
        loop {
            match ids.pop() {
                Some(0) => {}
                Some(id) => return Some(id),
                None => {
                    let mut bytes = [0; 8 * AT_A_TIME];
                    rand::fill(&mut bytes).ok()?;
                    ids.extend(bytes.as_chunks().0.iter().map(|&id| u64::from_ne_bytes(id)));
                }
            }
        }
    })
}

/// Of a `traceparent` of the first version, in bytes.
const LENGTH: usize = 55;

/// The flag of traces that are recorded.
const SAMPLED: u128 = 1;

/// Bits of a trace's id that are certain to be random.
const LOT: u32 = 56;

/// Random numbers that a thread gets at a time.
const AT_A_TIME: usize = 96;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn tracer(endpoint: Option<&str>, sample: u32) -> Tracer {
        let endpoint = endpoint.map(str::to_owned);
        Tracer::new(&TraceSettings { endpoint, sample, service: String::new(), trust_clients: false })
    }

    #[test]
    fn what_is_valid() {
        let parent = TraceContext::parse(PARENT.as_bytes()).unwrap();
        assert_eq!(parent.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!((parent.span_id, parent.parent_id, parent.sampled), (0x00f0_67aa_0ba9_02b7, None, true));
        assert_eq!(parent.to_string(), PARENT);
        for (traceparent, sampled) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", Some(false)),
            // Flags that nobody knows yet.
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-fe", Some(false)),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03", Some(true)),
            // Versions that nobody knows yet.
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", Some(true)),
            ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-may-be", Some(true)),
            ("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.what-may-be", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-", None),
            ("ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None),
            ("00-00000000000000000000000000000000-00f067aa0ba902b7-01", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", None),
            ("00-4BF92F3577B34DA6A3CE929D0E0E4736-00F067AA0BA902B7-01", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-011", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0", None),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01", None),
            ("+0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", None),
            ("", None),
        ] {
            let read = TraceContext::parse(traceparent.as_bytes());
            assert_eq!(read.map(|context| context.sampled), sampled, "{traceparent}");
        }
    }

    #[test]
    fn spans_are_parts_of_those_that_are_believed() {
        let parent = TraceContext::parse(PARENT.as_bytes());
        let off = tracer(None, 1_000_000);
        assert_eq!(off.span(None), None);
        assert_eq!(off.span(parent).unwrap().to_string(), PARENT);
        let never = tracer(Some("http://127.0.0.1:4318/v1/traces"), 0);
        let span = never.span(parent).unwrap();
        assert_eq!((Some(span.trace_id), span.sampled), (parent.map(|parent| parent.trace_id), true));
        assert_eq!(span.parent_id, parent.map(|parent| parent.span_id));
        assert_ne!(Some(span.span_id), span.parent_id);
        assert!((0..1000).all(|_| !never.span(None).unwrap().sampled));
        let always = tracer(Some("http://127.0.0.1:4318/v1/traces"), 1_000_000);
        assert!((0..1000).all(|_| always.span(None).unwrap().sampled));
        let some = tracer(Some("http://127.0.0.1:4318/v1/traces"), 100_000);
        // Six hundred and more away from the mean is ten times the deviation.
        let sampled = (0..40_000).filter(|_| some.span(None).unwrap().sampled).count();
        assert!((3_400..4_600).contains(&sampled), "{sampled}");
    }

    #[test]
    fn ids_of_all_threads_are_different() {
        let ids = || (0..10_000).map(|_| id().unwrap()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(ids)).collect();
        let all: HashSet<u64> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(all.len(), 40_000);
        assert!(!all.contains(&0));
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read(trace_id in 1..=u128::MAX, span_id in 1..=u64::MAX, sampled: bool) {
            let context = TraceContext { trace_id, span_id, parent_id: None, sampled };
            prop_assert_eq!(TraceContext::parse(context.to_string().as_bytes()), Some(context));
        }

        #[test]
        fn whatever_comes_is_read_or_not(bytes in prop::collection::vec(any::<u8>(), 0..80), near in "[0-9a-f-]{50,60}") {
            for text in [&bytes[..], near.as_bytes()] {
                if let Some(context) = TraceContext::parse(text) {
                    prop_assert_eq!(TraceContext::parse(context.to_string().as_bytes()), Some(context));
                }
            }
        }
    }
}
