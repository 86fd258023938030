//! What a kubeconfig, a credential plugin and a Kubernetes API say.

use std::path::Path;

use kubeedge::kubernetes::access::{Login, Material, Server};
use kubeedge::kubernetes::kubeconfig::Kubeconfig;
use kubeedge::kubernetes::lines::Lines;
use kubeedge::kubernetes::{CallError, EventKind, Status, exchange, plugin};
use kubeedge::pki::foreign;

use super::assert_sentence;

/// A kubeconfig: every context of it is an access or an error in words.
pub fn kubeconfig(data: &[u8]) {
    let mut files = Kubeconfig::default();
    if let Err(error) = files.add(Path::new("/f"), data) {
        return assert_sentence(&error.to_string());
    }
    let known = files.known("contexts").into_iter().map(Some);
    for context in known.chain([None]) {
        let access = match files.access(context.as_deref()) {
            Ok(access) => access,
            Err(error) => {
                assert_sentence(&error.to_string());
                continue;
            }
        };
        let again: Server = access.server.to_string().parse().expect("own URL");
        assert_eq!(again, access.server);
        if let Some(Material::Inline(text)) = &access.authorities
            && let Err(error) = foreign::authorities(text)
        {
            assert_sentence(&error.to_string());
        }
        if let Some((Material::Inline(certificate), Material::Inline(key))) = &access.certificate
            && let Err(error) = foreign::identity(certificate, key)
        {
            assert_sentence(&error.to_string());
        }
        if let Login::Token(token) = &access.login {
            assert!(!token.is_empty());
        }
    }
}

/// The lines of a watch: the same events come out, however the bytes were cut.
pub fn kube_events(data: &[u8]) {
    let Some((step, text)) = data.split_first() else {
        return;
    };
    let whole = events(text, text.len().max(1));
    assert_eq!(events(text, usize::from(*step).max(1)), whole);
}

type Told = (Vec<(EventKind, String)>, Option<CallError>);

fn events(text: &[u8], step: usize) -> Told {
    let (mut lines, mut found) = (Lines::default(), Vec::new());
    for chunk in text.chunks(step) {
        lines.add(chunk);
        loop {
            match lines.take() {
                Ok(Some(event)) => found.push((event.kind, event.object.get().to_owned())),
                Ok(None) => break,
                Err(error) => {
                    assert_sentence(&error.to_string());
                    return (found, Some(error));
                }
            }
        }
    }
    (found, None)
}

/// An answer that refuses, and the warnings of its head.
pub fn kube_answer(data: &[u8]) {
    for code in [400, 401, 403, 409, 429, 500] {
        let status = Status::read(code, data);
        assert_eq!(status.code, code);
        assert_sentence(&CallError::Refused(Box::new(status)).to_string());
    }
    for sentence in exchange::warnings(data.split(|byte| *byte == b'\n')) {
        assert!(sentence.len() <= 4 * 512 && !sentence.contains(char::is_control));
    }
}

/// What a credential plugin prints.
pub fn plugin_output(data: &[u8]) {
    for version in [
        "client.authentication.k8s.io/v1",
        "client.authentication.k8s.io/v1beta1",
    ] {
        match plugin::read(data, version) {
            Ok(read) => assert!(read.token.is_some() || read.certificate.is_some()),
            Err(what) => assert_sentence(what),
        }
    }
}
