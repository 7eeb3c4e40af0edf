//! Responses of platforms and legacy origins, so that a page served under an old URL stays whole.
//!
//! A platform knows nothing of the old host: its redirects, cookies, pages and style sheets name its own address.
//! [`Links`] knows how its addresses must look to the client that asked, [`headers()`] maps them in the head of a
//! response, and [`Body`] in HTML and CSS as they stream, whatever their charset and coding. [`HeaderRules`] are the
//! site's own wishes. [`negotiate`] and [`Encoder`] code the body once, before it is stored.
//!
//! Owns: which links change and how, content codings, and which header fields that touches. Never does: I/O, keeping
//! whole bodies, scripts and JSON, choosing the rule or the platform, storing.
//!
//! Invariants:
//! - A link changes only if a browser would certainly take it to a mapped host. In doubt it stays: a link that leads to
//!   the platform works, one that leads elsewhere than it did is a hijack.
//! - What does not change stays byte for byte: an edit replaces the head of a link, from its scheme to the end of its
//!   host or prefix.
//! - What an edit writes is ASCII that is inert where links stand, so that neither markup nor header fields can be
//!   broken out of.
//! - The pieces in which a body comes make no difference.
//! - A body that is broken is an error, never a short page. Memory is bounded, see [`Body`].
//!
//! The way of a page: `decode` → `charset` → `html` or `css` (which `splice` edits by place) → `encode`. `relay/` calls
//! all of it.

mod body;
mod charset;
mod coding;
mod confine;
mod cookie;
mod css;
mod decode;
mod encode;
mod headers;
mod html;
mod links;
mod rules;
mod spelled;
mod splice;
mod values;

pub use body::{Body, Failure, MAX_OUTPUT};
pub use coding::{Coding, MAX_CODINGS, codings, is_compressible, negotiate};
pub use confine::confine;
pub use encode::Encoder;
pub use headers::{changed, headers, no_transform, vary_by_coding};
pub use links::{LinkMap, Links};
pub use rules::{HeaderRules, RuleError};

#[cfg(test)]
mod tests;
