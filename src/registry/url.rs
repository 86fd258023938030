//! Where a request of the registry's protocol goes: http and https, as far as they are used here.

use super::reference::Reference;
use crate::system::names::{Endpoint, Host};

/// An absolute URL without user, password and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub plain: bool,
    pub endpoint: Endpoint,
    /// Host and port as they were written: some servers sign the very text.
    authority: String,
    /// Path and query.
    path: String,
}

impl Url {
    /// A path at an image's registry.
    pub fn of(reference: &Reference, plain: bool, path: &str) -> Url {
        let endpoint = reference.endpoint().clone();
        // What has no port of its own has the one of TLS.
        let authority = match endpoint.port {
            443 if !plain => Url::bare(&endpoint),
            _ => endpoint.to_string(),
        };
        Url {
            plain,
            endpoint,
            authority,
            path: format!("/v2/{}{path}", reference.repository()),
        }
    }

    /// Reads an absolute URL; none when it is none, or one with a user.
    pub fn parse(text: &str) -> Option<Url> {
        let (scheme, rest) = text.split_once("://")?;
        let plain = match scheme.to_ascii_lowercase().as_str() {
            "http" => true,
            "https" => false,
            _ => return None,
        };
        let rest = rest.split('#').next()?;
        let (authority, path) = match rest.find(['/', '?']) {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let path = match path.starts_with('?') {
            true => format!("/{path}"),
            false => path.to_owned(),
        };
        let printable = path.bytes().all(|b| b.is_ascii_graphic());
        if authority.contains('@') || !printable || text.len() > MAX_URL {
            return None;
        }
        let port = if plain { 80 } else { 443 };
        let endpoint = Endpoint::parse_with_default_port(authority, port).ok()?;
        Some(Url {
            plain,
            endpoint,
            authority: authority.to_owned(),
            path,
        })
    }

    /// What a `Location` in an answer to a request for `self` means.
    pub fn join(&self, location: &str) -> Option<Url> {
        if location.starts_with("//") {
            let scheme = if self.plain { "http:" } else { "https:" };
            return Url::parse(&format!("{scheme}{location}"));
        }
        if location.starts_with('/') {
            let path = location.split('#').next()?.to_owned();
            let good = path.bytes().all(|b| b.is_ascii_graphic()) && path.len() <= MAX_URL;
            return good.then(|| Url {
                path,
                ..self.clone()
            });
        }
        Url::parse(location)
    }

    /// The same with a query added to what it has.
    pub fn with_query(mut self, pairs: &[(&str, &str)]) -> Url {
        for (name, value) in pairs {
            let mark = if self.path.contains('?') { '&' } else { '?' };
            self.path.push(mark);
            self.path.push_str(name);
            self.path.push('=');
            for byte in value.bytes() {
                match byte {
                    b if b.is_ascii_alphanumeric() || b"-._~".contains(&b) => {
                        self.path.push(char::from(b));
                    }
                    b => self.path.push_str(&format!("%{b:02X}")),
                }
            }
        }
        self
    }

    /// Whether a secret that was given to `other` may be given to `self`: it is the same server,
    /// spoken to in the same way.
    pub fn is_of(&self, other: &Url) -> bool {
        self.plain == other.plain && self.endpoint == other.endpoint
    }

    /// Whether it is this machine itself.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.endpoint.host)
    }

    pub fn text(&self) -> String {
        let scheme = if self.plain { "http" } else { "https" };
        format!("{scheme}://{}{}", self.authority, self.path)
    }

    fn bare(endpoint: &Endpoint) -> String {
        let text = endpoint.to_string();
        let bare = text.rsplit_once(':').map(|(host, _)| host.to_owned());
        bare.unwrap_or(text)
    }
}

pub fn is_loopback(host: &Host) -> bool {
    match host {
        Host::Ip(address) => address.to_canonical().is_loopback(),
        Host::Name(name) => name == "localhost",
    }
}

/// Characters. Signatures in URLs are long.
const MAX_URL: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        for text in [
            "https://a.example/x?y=z",
            "http://a.example:5000/",
            "https://[::1]:5000/a",
        ] {
            assert_eq!(Url::parse(text).unwrap().text(), text);
        }
        assert_eq!(
            Url::parse("HTTPS://a.example?b#c").unwrap().text(),
            "https://a.example/?b"
        );
        for text in [
            "",
            "a",
            "/a",
            "ftp://a/b",
            "https://",
            "https://u:p@a/b",
            "https://a/b c",
            "https://a/\n",
            "https://a:0/",
            "https://a/\u{e9}",
        ] {
            assert_eq!(Url::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn locations_are_joined() {
        let base = Url::parse("https://a.example/v2/x/blobs/y").unwrap();
        let joined = |location: &str| base.join(location).map(|url| url.text());
        assert_eq!(joined("/z?q").as_deref(), Some("https://a.example/z?q"));
        assert_eq!(
            joined("//b.example/z").as_deref(),
            Some("https://b.example/z")
        );
        assert_eq!(
            joined("http://b.example").as_deref(),
            Some("http://b.example/")
        );
        assert_eq!(joined("z"), None);
        assert_eq!(joined("/z\r\nX: y"), None);
        let other = base.join("https://a.example:444/").unwrap();
        assert!(!other.is_of(&base) && base.join("/z").unwrap().is_of(&base));
        assert!(!base.join("http://a.example:443/").unwrap().is_of(&base));
    }

    #[test]
    fn a_query_is_added() {
        let url = Url::parse("https://a.example/t?x=1").unwrap();
        let url = url.with_query(&[("service", "a b"), ("scope", "repository:a/b:pull")]);
        assert_eq!(
            url.text(),
            "https://a.example/t?x=1&service=a%20b&scope=repository%3Aa%2Fb%3Apull"
        );
    }

    #[test]
    fn images_have_urls() {
        let of = |image: &str, plain| Url::of(&image.parse().unwrap(), plain, "/tags").text();
        assert_eq!(of("r.example/a", false), "https://r.example/v2/a/tags");
        assert_eq!(
            of("r.example:5000/a", false),
            "https://r.example:5000/v2/a/tags"
        );
        assert_eq!(of("[::1]:443/a", false), "https://[::1]/v2/a/tags");
        assert_eq!(of("localhost:80/a", true), "http://localhost:80/v2/a/tags");
    }
}
