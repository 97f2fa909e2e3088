//! Two honest sides joined by a scheduler that the input drives: nothing lost, torn, stuck or leaked.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| c2l_fuzz::pair::exchange(data));
