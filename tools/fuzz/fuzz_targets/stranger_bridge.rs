//! A stranger's bytes behind an upgrade.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| c2l_fuzz::strangers::bridge(data));
