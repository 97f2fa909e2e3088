//! What an identity provider serves as its keys.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| c2l_fuzz::strangers::jwks(data));
