//! Suggestions: how many are right, and what becomes of them.

mod migration;
mod quality;
