//! Lines of the JSON access log, read again.

use std::borrow::Cow;

use serde::Deserialize;

/// A line. What is absent is empty; what is unknown is ignored, so that lines of a later version can be read.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Record<'a> {
    /// [`super::fields::TIME`].
    #[serde(borrow)]
    pub time: Cow<'a, str>,
    /// [`super::fields::CLIENT`].
    #[serde(borrow)]
    pub client: Cow<'a, str>,
    /// [`super::fields::METHOD`].
    #[serde(borrow)]
    pub method: Cow<'a, str>,
    /// [`super::fields::SCHEME`].
    #[serde(borrow)]
    pub scheme: Cow<'a, str>,
    /// [`super::fields::HOST`].
    #[serde(borrow)]
    pub host: Cow<'a, str>,
    /// [`super::fields::TARGET`].
    #[serde(borrow)]
    pub target: Cow<'a, str>,
    /// [`super::fields::PROTOCOL`].
    #[serde(borrow)]
    pub protocol: Cow<'a, str>,
    /// [`super::fields::STATUS`].
    pub status: u16,
    /// [`super::fields::OUTCOME`].
    #[serde(borrow)]
    pub outcome: Cow<'a, str>,
    /// [`super::fields::REASON`].
    #[serde(borrow)]
    pub reason: Cow<'a, str>,
    /// [`super::fields::UNMAPPED`].
    pub unmapped: bool,
    /// [`super::fields::SITE`].
    #[serde(borrow)]
    pub site: Cow<'a, str>,
    /// [`super::fields::LOCATION`].
    #[serde(borrow)]
    pub location: Cow<'a, str>,
    /// [`super::fields::RULE`].
    #[serde(borrow)]
    pub rule: Cow<'a, str>,
    /// [`super::fields::PLATFORM`].
    #[serde(borrow)]
    pub platform: Cow<'a, str>,
    /// [`super::fields::CACHE`].
    #[serde(borrow)]
    pub cache: Cow<'a, str>,
    /// [`super::fields::SENT`].
    pub sent: u64,
    /// [`super::fields::RECEIVED`].
    pub received: u64,
    /// [`super::fields::TOOK`].
    pub took: f64,
    /// [`super::fields::LANE`].
    #[serde(borrow)]
    pub lane: Cow<'a, str>,
    /// [`super::fields::REFERER`].
    #[serde(borrow)]
    pub referer: Cow<'a, str>,
    /// [`super::fields::USER_AGENT`].
    #[serde(borrow)]
    pub user_agent: Cow<'a, str>,
    /// [`super::fields::TAGS`].
    #[serde(borrow)]
    pub tags: Vec<Cow<'a, str>>,
    /// [`super::fields::TRACE`].
    #[serde(borrow)]
    pub trace: Cow<'a, str>,
    /// [`super::fields::ESCAPED`].
    #[serde(borrow)]
    pub escaped: Vec<Cow<'a, str>>,
}

impl<'a> Record<'a> {
    /// Reads a line; none if it is none of ours.
    pub fn of_line(line: &'a [u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// The host as it was sent.
    pub fn host_bytes(&self) -> Cow<'_, [u8]> {
        self.bytes(super::fields::HOST.name, &self.host)
    }

    /// The target as it was sent.
    pub fn target_bytes(&self) -> Cow<'_, [u8]> {
        self.bytes(super::fields::TARGET.name, &self.target)
    }

    /// `text`, which is the value of the field `name`, as it was sent.
    pub fn bytes<'b>(&self, name: &str, text: &'b str) -> Cow<'b, [u8]> {
        if self.escaped.iter().all(|escaped| escaped != name) {
            return Cow::Borrowed(text.as_bytes());
        }
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let Some((&first, more)) = rest.split_first() {
            let digits = more.first_chunk().and_then(|digits: &[u8; 2]| str::from_utf8(digits).ok());
            match digits.filter(|_| first == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(byte) => {
                    bytes.push(byte);
                    rest = &more[2..];
                }
                None => {
                    bytes.push(first);
                    rest = more;
                }
            }
        }
        Cow::Owned(bytes)
    }
}
