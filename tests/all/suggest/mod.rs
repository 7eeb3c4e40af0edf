//! Suggestions: how many are right, and what becomes of them.

mod command;
mod holdout;
mod migration;
mod other;
mod quality;
