//! Raw bytes as messages of a hostile peer, to either side of a session.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| c2l_fuzz::hostile::frames(data));
