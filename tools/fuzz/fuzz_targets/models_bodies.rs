//! Bodies before the gate that judges the models they name.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| c2l_fuzz::bodies::judged(data));
