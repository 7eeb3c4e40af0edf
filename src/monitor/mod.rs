//! How the gateway is: the state behind `/readyz`.

mod status;

pub use self::status::{Certificates, FaultyFile, FaultySite, LastReload, Monitor, Status};
