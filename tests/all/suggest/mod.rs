//! Suggestions: how many are right, and what becomes of them.

mod command;
mod migration;
mod quality;
