//! Captive portals: what answers in a cloud's place because nobody has logged in to the network yet.
//!
//! A cloud never sends a device elsewhere, shows it no page, and speaks TLS. What does is named by where
//! it is, since that is what a person needs to get past it. Nothing that it says is believed.

use std::fmt;

use crate::system::names::Endpoint;

/// A web server that answers where a cloud should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Portal {
    /// Where it is: the host that it sends to, or what was dialled.
    at: String,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Redirect(u16),
    /// 511.
    LogIn,
    Page,
    /// The answer to a TLS hello, with its status.
    Plain(u16),
}

impl Portal {
    /// Judges the head of an answer to `dialled`.
    pub fn in_head(
        status: u16,
        location: Option<&[u8]>,
        content_type: Option<&[u8]>,
        dialled: &Endpoint,
    ) -> Option<Portal> {
        let how = match (status, location, content_type) {
            (300..=399, Some(_), _) => How::Redirect(status),
            (511, ..) => How::LogIn,
            (200, _, Some(kind)) if is_html(kind) => How::Page,
            _ => return None,
        };
        Some(Portal::new(how, location, dialled))
    }

    /// The same of a body that came with a 200, where the head has not told.
    pub fn in_body(body: &[u8], dialled: &Endpoint) -> Option<Portal> {
        let start = body.trim_ascii_start();
        let begins = |with: &str| {
            let start = start.get(..with.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
        };
        let page = begins("<!doctype html") || begins("<html");
        page.then(|| Portal::new(How::Page, None, dialled))
    }

    fn new(how: How, location: Option<&[u8]>, dialled: &Endpoint) -> Portal {
        let elsewhere = location.and_then(host);
        Portal {
            at: elsewhere.unwrap_or_else(|| dialled.to_string()),
            how,
        }
    }
}

/// The first bytes from the other side, as long as they are HTTP: so that it can be told what answered
/// where TLS was expected. Of TLS nothing is kept.
#[derive(Debug, Default)]
pub struct Beginning {
    kept: Vec<u8>,
    other: bool,
}

impl Beginning {
    /// Takes what was read next.
    pub fn note(&mut self, bytes: &[u8]) {
        if self.other {
            return;
        }
        let room = MAX_HEAD.saturating_sub(self.kept.len());
        self.kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        let length = self.kept.len().min(HTTP.len());
        if self.kept[..length] != HTTP[..length] {
            *self = Beginning {
                kept: Vec::new(),
                other: true,
            };
        }
    }

    /// What answered in plain HTTP, if anything did.
    pub fn portal(&self, dialled: &Endpoint) -> Option<Portal> {
        let head = self.kept.strip_prefix(HTTP)?;
        let (head, _) = split(head, b"\r\n\r\n").unwrap_or((head, b""));
        let mut lines = head.split(|byte| *byte == b'\n');
        // `1.1 302 Found`
        let mut words = lines.next()?.split(|byte| *byte == b' ').skip(1);
        let status = words.find(|word| !word.is_empty())?.trim_ascii_end();
        let status = std::str::from_utf8(status).ok()?.parse().ok()?;
        let location = lines.find_map(|line| {
            let (name, value) = split(line, b":")?;
            let named = name.eq_ignore_ascii_case(b"location");
            named.then(|| value.trim_ascii())
        });
        let how = match status {
            511 => How::LogIn,
            100..=999 => How::Plain(status),
            _ => return None,
        };
        Some(Portal::new(how, location, dialled))
    }
}

impl fmt::Display for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Portal { at, how } = self;
        write!(f, "a portal at {at} answers instead of the cloud (")?;
        match how {
            How::Redirect(status) => write!(f, "{status}, a redirect")?,
            How::LogIn => f.write_str("511, it wants a login")?,
            How::Page => f.write_str("with a page")?,
            How::Plain(status) => write!(f, "{status}, in plain HTTP")?,
        }
        f.write_str("): log in to this network, or have its operator let this device through")?;
        match how {
            How::Plain(_) => f.write_str("; if there is none, check the port"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Portal {}

/// The host, and the port, in the URL of a `Location`; none in a path, and none that could not be
/// printed as it is.
fn host(location: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(location).ok()?.trim();
    let (scheme, rest) = text.split_once("//")?;
    let known = ["", "http:", "https:"];
    if !known.iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return None;
    }
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    // User and password are nobody's business.
    let host = authority.rsplit('@').next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    (!host.is_empty() && host.len() <= MAX_HOST && host.chars().all(plain)).then(|| host.to_owned())
}

fn is_html(content_type: &[u8]) -> bool {
    let kind = content_type.split(|byte| *byte == b';').next();
    let kind = kind.unwrap_or_default().trim_ascii();
    ["text/html", "application/xhtml+xml"]
        .iter()
        .any(|html| kind.eq_ignore_ascii_case(html.as_bytes()))
}

fn split<'a>(text: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let place = text.windows(at.len()).position(|window| window == at)?;
    Some((&text[..place], &text[place + at.len()..]))
}

const HTTP: &[u8] = b"HTTP/";
/// Bytes of an answer in plain HTTP that are looked at.
const MAX_HEAD: usize = 2048;
/// Bytes: the longest DNS name, and a port.
const MAX_HOST: usize = 253 + 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn dialled() -> Endpoint {
        "192.0.2.1:10002".parse().unwrap()
    }

    fn plain(answer: &str) -> Option<String> {
        let mut beginning = Beginning::default();
        for piece in answer.as_bytes().chunks(3) {
            beginning.note(piece);
        }
        let portal = beginning.portal(&dialled());
        portal.map(|portal| portal.to_string())
    }

    #[test]
    fn what_no_cloud_does_is_a_portal() {
        let head = |status, location: Option<&str>, kind: Option<&str>| {
            let (location, kind) = (location.map(str::as_bytes), kind.map(str::as_bytes));
            Portal::in_head(status, location, kind, &dialled()).map(|portal| portal.to_string())
        };
        let found = head(302, Some("http://login.hotel.example:8080/?to=x"), None).unwrap();
        let expected = "a portal at login.hotel.example:8080 answers instead of the cloud (302, a";
        assert!(found.starts_with(expected), "{found}");
        for (status, location, kind) in [
            (307, Some("/login"), None),
            (511, None, Some("text/html")),
            (200, None, Some("Text/HTML; charset=utf-8")),
        ] {
            let found = head(status, location, kind).unwrap();
            assert!(found.contains("at 192.0.2.1:10002 answers"), "{found}");
        }
        for (status, location, kind) in [
            (200, None, None),
            (200, None, Some("application/json")),
            (304, None, None),
            (404, None, Some("text/html")),
            (502, None, Some("text/html")),
        ] {
            assert_eq!(head(status, location, kind), None, "{status}");
        }
        for page in ["<!DOCTYPE html><p>", " \r\n<HTML lang=de>"] {
            assert!(Portal::in_body(page.as_bytes(), &dialled()).is_some());
        }
        for other in ["", "<", "0\u{82}", "read <html>"] {
            assert_eq!(Portal::in_body(other.as_bytes(), &dialled()), None);
        }
    }

    #[test]
    fn a_portal_is_known_by_plain_http_as_well() {
        let found = plain("HTTP/1.0 302 Found\r\nX: y\r\nlocation: https://u:p@a.example/\r\n\r\n");
        let found = found.unwrap();
        assert!(found.contains("at a.example answers"), "{found}");
        assert!(
            !found.contains("u:p") && found.contains("302, in plain HTTP"),
            "{found}"
        );
        // What comes behind the head is none of it, and what is cut off may be missing.
        let found = plain("HTTP/1.1 400 Bad\r\n\r\nLocation: http://b.example/").unwrap();
        assert!(found.contains("192.0.2.1:10002") && found.contains("check the port"));
        assert!(plain("HTTP/1.1 511\r\nLoca").unwrap().contains("a login"));
        for other in [
            "",
            "HTTP/",
            "HTTP/1.1",
            "HTTP/1.1 no",
            "HTTP/1.1 7\r\n",
            "SSH-2.0",
        ] {
            assert_eq!(plain(other), None, "{other}");
        }
        let mut beginning = Beginning::default();
        beginning.note(b"\x16\x03\x03");
        beginning.note(b"HTTP/1.1 302 Found\r\n\r\n");
        assert!(beginning.kept.capacity() == 0 && beginning.portal(&dialled()).is_none());
        let mut beginning = Beginning::default();
        beginning.note(b"HTTP/1.1 200 OK\r\n");
        beginning.note(&[b'x'; 100_000]);
        assert_eq!(beginning.kept.len(), MAX_HEAD);
    }

    #[test]
    fn only_a_plain_host_is_repeated() {
        for (location, expected) in [
            ("//c.example", Some("c.example")),
            ("HTTPS://[fd00::1]:8443\\x", Some("[fd00::1]:8443")),
            ("javascript://c.example", None),
            ("http:///x", None),
            ("http://a b/", None),
            ("http://\u{202e}x/", None),
            ("login?to=http", None),
        ] {
            assert_eq!(host(location.as_bytes()).as_deref(), expected, "{location}");
        }
        let long = format!("http://{}/", "a".repeat(MAX_HOST + 1));
        assert_eq!(host(long.as_bytes()), None);
    }
}
