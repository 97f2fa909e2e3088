//! A stranger's credential.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| c2l_fuzz::strangers::token(data));
