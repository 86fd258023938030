//! Certificates as peers and files bring them: parsing and every question asked of them.
#![no_main]

use kubeedge::pki::certificate::Certificate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Certificate::from_pem(data);
    if let Ok(certificate) = Certificate::from_der(data) {
        let _ = (certificate.subject().node_name(), certificate.dns_names());
        let _ = (certificate.ip_addresses(), certificate.is_ca(), certificate.key_id());
        assert!(certificate.not_before().unix() <= i64::MAX / 2);
        let again = Certificate::from_pem(certificate.to_pem().as_bytes()).expect("own PEM");
        assert_eq!(again.der(), certificate.der());
    }
});
