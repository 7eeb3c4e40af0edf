//! How paths of a platform look under the old host.

/// That links in an answer are rewritten to the old host, and how their paths change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewriting {
    /// The platform's prefix and the one that stands for it under the old host, both from `/` to `/`; `None` where paths
    /// are the same.
    pub prefix: Option<(Box<str>, Box<str>)>,
}
