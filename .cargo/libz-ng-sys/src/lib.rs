//! pingora-core asks flate2 for zlib-ng, whose `-sys` crate builds with cmake. The gateway promises to build with a
//! Rust toolchain and a C compiler alone, so this crate gives flate2 the same functions from stock zlib, which
//! `libz-sys` compiles with `cc`. Nothing on the way of a redirect compresses.
#![no_std]
pub use libz_sys::*;
