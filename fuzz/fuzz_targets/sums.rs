//! The fuzz target `sums`; what it does stands in the bodies.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kubeedge_fuzz::bodies::named("sums")(data));
