//! The fuzz target `plugin_output`; what it does stands in the bodies.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| kubeedge_fuzz::bodies::named("plugin_output")(data));
