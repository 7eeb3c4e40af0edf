//! Files of certificates, locked keys, OCSP responses and ticket keys: no bytes panic, and none take long.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| waypost::tls::fuzz(data));
