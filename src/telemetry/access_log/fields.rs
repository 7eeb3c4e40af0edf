//! Every field of the JSON access log, in the order in which a line has them. Who reads the log reads this.

/// A field of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it tells.
    pub help: &'static str,
    /// What stands before its value.
    pub(super) lead: &'static str,
}

macro_rules! fields {
    ($($name:ident = $text:literal $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $name: Field = Field { name: $text, help: $help, lead: concat!(",\"", $text, "\":") };
        )*

        /// Every field.
        pub const ALL: &[Field] = &[$($name),*];
    };
}

fields! {
    TIME = "time" "When the request's head had come: RFC 3339, in UTC, with milliseconds.";
    CLIENT = "client" "Who sent it, as [log] client says.";
    METHOD = "method" "Its method.";
    SCHEME = "scheme" "How the client came: `http` or `https`.";
    HOST = "host" "The host that it was for, as it was sent.";
    TARGET = "target" "Path and query, as they were sent.";
    PROTOCOL = "protocol" "Version of HTTP: `HTTP/1.1`.";
    STATUS = "status" "Status of the answer; 0 if there was none.";
    OUTCOME = "outcome" "Kind of answer, as in metrics.";
    REASON = "reason" "Why the guard refused it.";
    UNMAPPED = "unmapped" "`true` if nothing of the site says where the URL went.";
    SITE = "site" "Id of the site.";
    LOCATION = "location" "Where the client was sent, or where the page that it got leads.";
    RULE = "rule" "File and line of the routes that said so.";
    PLATFORM = "platform" "The platform that was asked.";
    CACHE = "cache" "What the cache had to do with it: `hit`, `miss` and the like, or `pass`.";
    SENT = "sent" "Bytes of the answer's body.";
    RECEIVED = "received" "Bytes of the request's body, as far as it was read.";
    TOOK = "took" "Seconds until the answer was made, or sent where that takes time.";
    LANE = "lane" "The way that it took, as in metrics.";
    REFERER = "referer" "Its Referer.";
    USER_AGENT = "user_agent" "Its User-Agent.";
    TAGS = "tags" "The tags that request rules gave it.";
    TRACE = "trace" "Id of its trace (W3C Trace Context).";
    ESCAPED = "escaped" "Names of the fields that were not UTF-8: these are percent-encoded, `%` itself as `%25`.";
}
