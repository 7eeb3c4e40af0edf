//! Upgrade: a new process takes the listening sockets over from the one that runs, and not one connection is refused.
//!
//! ```text
//!  old                                            new
//!   │ SIGQUIT, or `waypost upgrade` over the control socket
//!   ├─ starts it as it was started itself ─────────►│ loads its settings and its routes
//!   │◄───────────────── connects, "take" ───────────┤
//!   ├─ names of the sockets, then the sockets ─────►│ binds what is new, accepts
//!   │◄───────────────── "ready", what it kept ──────┤
//!   │ drains, ends                                  │ serves
//! ```
//!
//! Owns: the control socket and its folder (`control`), what goes over it (`wire`), the old one's part
//! (`successor`) and the new one's (`predecessor`). Never does: connections of citizens.
//!
//! Invariants: until the new process has said that it is ready, the old one serves as if nothing happened, and whatever
//! becomes of the new one leaves it whole: its sockets, the files of its Unix sockets, its control socket. Only its own
//! user and root may speak to a gateway here.

mod control;
mod predecessor;
mod successor;
mod wire;

pub use control::socket_path;
pub(super) use control::{Control, NAME};
pub(super) use predecessor::Predecessor;
pub(super) use successor::{Start, Successor, answer};
pub use wire::{Outcome, ask_for_upgrade};
