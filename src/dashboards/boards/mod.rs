//! The dashboards, one file each: tables of panels.
//!
//! A panel's description says what it shows and what to do about it; the Chinese line before it is its title.

use super::dashboard::Dashboard;
use super::names::{Family, OUTCOME, STATUS};
use super::query::Series;

mod homes;
mod node;
mod owners;
mod platforms;
mod province;
mod security;
mod site;
mod tls;

/// All, in the order in which they are read.
pub(super) fn all() -> Vec<Dashboard> {
    vec![
        province::dashboard(),
        owners::dashboard(),
        site::dashboard(),
        homes::dashboard(),
        platforms::dashboard(),
        tls::dashboard(),
        security::dashboard(),
        node::dashboard(),
    ]
}

/// Answers that citizens asked for: the checks of load balancers don't count.
pub(super) fn asked(family: Family) -> Series {
    super::query::of(family).other_than(OUTCOME, "health")
}

/// Those of [`asked`] that failed: 5xx, but for pages that operators have frozen, and what is no HTTP (501, 505).
pub(super) fn failed(family: Family) -> Series {
    super::query::of(family).unlike(OUTCOME, "health|frozen|bad_request").is(STATUS, "5xx")
}

/// Where a click on a site leads.
const TO_SITE: &str = "/d/waypost-site?var-site=${__value.text}&${__url_time_range}&${datasource:queryparam}";
/// Where a click on an owner leads.
const TO_OWNER: &str = "/d/waypost-owners?var-owner=${__value.text}&${__url_time_range}&${datasource:queryparam}";
