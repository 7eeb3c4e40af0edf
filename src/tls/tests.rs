//! Handshakes in memory over certificates made at run time.
