//! Surveys of sites: no spreadsheet panics, whatever is in it.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| waypost::census::fuzz(data));
