//! Certificate requests as the certificate API receives them.
#![no_main]

use kubeedge::pki::csr::Csr;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(csr) = Csr::parse(data) {
        assert!(!csr.spki().is_empty());
        let _ = csr.subject().node_name();
    }
});
