//! Waypost keeps a government's retired web addresses alive: a gateway that fronts the old domains and sends each old
//! URL to its new home.
#![forbid(unsafe_code)]

pub mod admin;
pub mod answer;
pub mod config;
pub mod door;
pub mod model;
pub mod monitor;
pub mod pages;
pub mod reload;
pub mod routing;
pub mod telemetry;
pub mod url;
