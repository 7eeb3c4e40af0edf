//! The bytes of a legacy URL → its canonical form, by a site's habits.
//!
//! A retired site's pages are known by many spellings: `/News/List.ASP?id=7&utm_source=x`, `//news/./list.asp?ID=7`,
//! `/news/list%2Easp;jsessionid=0A?id=7`. [`Canonicalizer`] maps all spellings of one page to one text and never two
//! pages to the same text, in one pass over the bytes, without regular expressions, and without allocation once the
//! buffers of [`Canonical`] have grown to the size of the usual URL.
//!
//! The canonical text is Unicode. What can't be written literally without changing the meaning stays a percent escape
//! in upper-case hex: delimiters that were escaped (`%2F` is not `/`), controls, `%` itself, and bytes that are no text
//! in the declared charset. Bytes are decoded *before* case is folded: 華 in GBK is `%C8A`, and its `A` is half of a
//! character, not a letter.
//!
//! Owns: request targets and old URLs. Never does: hosts (see [`crate::model::Host`]), look-ups, I/O.
//! Called by: `routing` for every request and for every mapping row at load.

mod buffers;
mod canonical;
mod charset;
mod encode;
mod query;
mod raw;
mod settings;

pub use canonical::{Canonical, Canonicalizer, Form, MAX_TARGET, TargetError};
pub use charset::Charset;
pub(crate) use encode::is_uri_byte;
pub use encode::{Component, encode_component, to_wire};
pub use query::Params;
pub(crate) use raw::split_target;
pub use raw::{Absolute, split_absolute};
pub use settings::UrlSettings;
