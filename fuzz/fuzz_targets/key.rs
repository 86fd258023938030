//! Private keys in files: SEC1 and PKCS#8, DER and PEM.
#![no_main]

use kubeedge::pki::key::PrivateKey;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = PrivateKey::from_pem(data);
    if let Ok(key) = PrivateKey::from_der(data) {
        let again = PrivateKey::from_der(&key.to_sec1_der()).expect("own DER");
        assert_eq!(again.spki_hash(), key.spki_hash());
    }
});
