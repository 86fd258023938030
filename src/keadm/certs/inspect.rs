//! Judges one key with its certificate, as files: readable, belonging together, kept from others.

use std::path::Path;

use crate::config::edge::pending;
use crate::pki::certificate::Certificate;
use crate::pki::key::PrivateKey;
use crate::pki::{MAX_INPUT, PkiError, pem};
use crate::system::clock::Timestamp;
use crate::system::files::{FileError, Files};

/// What is known of a certificate and its key, and what is wrong with each.
#[derive(Default)]
pub struct Found {
    pub certificate: Option<Certificate>,
    pub key: Option<PrivateKey>,
    /// The certificate behind the first one in the key's file: that of the CA.
    pub ca: Option<Certificate>,
    /// Behind that: the other CA, while the cloud changes from one to another.
    pub also: Vec<Certificate>,
    pub certificate_faults: Faults,
    pub key_faults: Faults,
}

/// What is wrong, a sentence each; and whether something could not be read for lack of rights.
#[derive(Default)]
pub struct Faults {
    pub sentences: Vec<String>,
    pub denied: bool,
}

impl Faults {
    pub fn add(&mut self, sentence: impl Into<String>) {
        self.sentences.push(sentence.into());
    }

    fn file(&mut self, error: &FileError) {
        self.denied |= error.is_denied();
        self.add(error.to_string());
    }
}

/// Reads the unit in `key_file` (key, certificate, perhaps the CA) and its copy in `copy_file`.
///
/// KubeEdge's own edgecore keeps the key alone; then the certificate is the one in `copy_file`.
pub fn unit(files: &Files, key_file: &Path, copy_file: &Path) -> Found {
    let mut found = Found::default();
    let bytes = match files.read_secret(key_file, MAX_INPUT) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            found
                .key_faults
                .add(format!("there is no {}", key_file.display()));
            found.certificate = copy(files, copy_file, &mut found.certificate_faults);
            return found;
        }
        Err(error) => {
            found.key_faults.file(&error);
            found.certificate = copy(files, copy_file, &mut found.certificate_faults);
            return found;
        }
    };
    match PrivateKey::from_pem(&bytes) {
        Ok(key) => found.key = Some(key),
        Err(error) => found
            .key_faults
            .add(format!("{}: {error}", key_file.display())),
    }
    match certificates(&bytes) {
        Ok(unit) => {
            let mut unit = unit.into_iter();
            (found.certificate, found.ca) = (unit.next(), unit.next());
            found.also = unit.collect();
        }
        Err(error) => found
            .key_faults
            .add(format!("{}: {error}", key_file.display())),
    }
    keep_from_others(files, key_file, 0o600, &mut found.key_faults);
    let faults = &mut found.certificate_faults;
    let copied = match &found.key {
        Some(key) if found.certificate.is_none() => {
            let is_for_key = |it: &Certificate| it.spki_hash() == key.spki_hash();
            beside(files, copy_file, is_for_key, faults)
        }
        _ => copy(files, copy_file, faults),
    };
    match (&found.certificate, copied) {
        (Some(own), Some(copied)) if *own != copied => found.certificate_faults.add(format!(
            "{} is not the certificate in {}: restart the daemon, it repairs the copy",
            copy_file.display(),
            key_file.display()
        )),
        (None, copied) => found.certificate = copied,
        _ => {}
    }
    if let (Some(key), Some(certificate)) = (&found.key, &found.certificate)
        && key.spki_hash() != certificate.spki_hash()
    {
        found.key_faults.add(format!(
            "the key in {} does not belong to the certificate: put files of one pair together, or \
             join again with a fresh token",
            key_file.display()
        ));
    }
    found
}

/// The certificate in a file of its own, which everybody may read and nobody else may change.
pub fn copy(files: &Files, path: &Path, faults: &mut Faults) -> Option<Certificate> {
    let bytes = match files.read_opt(path, MAX_INPUT) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            faults.add(format!("there is no {}", path.display()));
            return None;
        }
        Err(error) => {
            faults.file(&error);
            return None;
        }
    };
    keep_from_others(files, path, 0o644, faults);
    match Certificate::from_pem(&bytes) {
        Ok(certificate) => Some(certificate),
        Err(error) => {
            faults.add(format!("{}: {error}", path.display()));
            None
        }
    }
}

/// The same beside a key that is alone, where what waits to take the file's place counts if only that `is_right`: edgecore
/// goes on from there.
pub fn beside(
    files: &Files,
    path: &Path,
    is_right: impl Fn(&Certificate) -> bool,
    faults: &mut Faults,
) -> Option<Certificate> {
    let mut of_file = Faults::default();
    let there = copy(files, path, &mut of_file);
    if !there.as_ref().is_some_and(&is_right) {
        let place = pending(path);
        let bytes = files.read_opt(&place, MAX_INPUT).ok().flatten();
        let waiting = bytes.and_then(|bytes| Certificate::from_pem(&bytes).ok());
        if let Some(waiting) = waiting.filter(is_right) {
            faults.add(format!(
                "{} still waits to become {}, since a power cut came between: start edgecore, it \
                 goes on from there",
                place.display(),
                path.display()
            ));
            return Some(waiting);
        }
    }
    faults.sentences.append(&mut of_file.sentences);
    faults.denied |= of_file.denied;
    there
}

/// The first certificate in a file of its own, and those behind it.
#[cfg(feature = "edge")]
pub fn copies(files: &Files, path: &Path) -> Option<(Certificate, Vec<Certificate>)> {
    let bytes = files.read_opt(path, MAX_INPUT).ok()??;
    let mut all = certificates(&bytes).ok()?.into_iter();
    Some((all.next()?, all.collect()))
}

/// Notes a certificate that ends soon although it should have been renewed by now.
pub fn overdue(certificate: &Certificate, now: Timestamp, faults: &mut Faults) {
    let (start, end) = (certificate.not_before(), certificate.not_after());
    let point = start.plus(end.since(start).mul_f64(RENEWED_BY));
    if now >= point && now < end {
        faults.add(format!(
            "the certificate should have been renewed by {point}: see `kubeedge status` for the \
             reason"
        ));
    }
}

/// A file or folder that others than its owner can do more with than `allowed` says.
pub fn keep_from_others(files: &Files, path: &Path, allowed: u32, faults: &mut Faults) {
    match files.mode(path) {
        Ok(mode) if mode & !allowed == 0 => {}
        Ok(mode) => faults.add(format!(
            "{0} has mode {mode:04o}, which is more than {allowed:04o}: `chmod {allowed:o} {0}`",
            path.display()
        )),
        Err(error) if error.is_not_found() => {}
        Err(error) => faults.file(&error),
    }
}

fn certificates(bytes: &[u8]) -> Result<Vec<Certificate>, PkiError> {
    let blocks = pem::blocks(bytes)?;
    let certificates = blocks.iter().filter(|block| block.label == "CERTIFICATE");
    certificates
        .map(|block| Certificate::from_der(&block.der))
        .collect()
}

/// Devices renew at 70 to 90 % of a certificate's life.
const RENEWED_BY: f64 = 0.9;
