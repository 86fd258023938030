//! Proxies by their names, and every answer that one may give.

use std::io::{Read, Write};
use std::net::TcpListener;

use smol::net::TcpStream;

use super::*;

#[test]
fn names_of_proxies() {
    for (text, url, credentials) in [
        (
            "http://proxy.example:3128",
            "http://proxy.example:3128",
            None,
        ),
        ("http://proxy.example/", "http://proxy.example:80", None),
        ("192.0.2.1:8080", "http://192.0.2.1:8080", None),
        (
            "HTTP://[2001:db8::1]:3128",
            "http://[2001:db8::1]:3128",
            None,
        ),
        ("http://u:p@h:1", "http://h:1", Some("u:p")),
        ("u:p%40ss%25@h:1", "http://h:1", Some("u:p@ss%")),
        ("http://u:a@b@[::1]:1", "http://[::1]:1", Some("u:a@b")),
        ("http://u:100%@h", "http://h:80", Some("u:100%")),
    ] {
        let proxy: Proxy = text.parse().unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(proxy.url(), url);
        let given = proxy.credentials.as_ref().map(Credentials::expose);
        assert_eq!(given, credentials, "{text}");
        assert!(!format!("{proxy:?}").contains("ss%"));
    }
    for (text, part) in [
        ("socks5://h:1", "\"socks5\""),
        ("https://h:1", "\"https\""),
        ("http://h:0", "port"),
        ("http://", "empty"),
        ("http://secret:%0a@h:1", "%40"),
        ("http://@h:1", "%40"),
    ] {
        let error = text.parse::<Proxy>().unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains("secret"), "{error}");
    }
}

#[test]
fn the_environment_names_one() {
    let read = |pairs: &[(&str, &str)]| {
        Proxy::from_environment(|name| {
            let found = pairs.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    };
    assert_eq!(
        read(&[("HTTPS_PROXY", " "), ("HTTP_PROXY", "http://h:1")]),
        Ok(None)
    );
    let proxy = read(&[("https_proxy", "u:p@h:1"), ("no_proxy", ".example")]);
    let proxy = proxy.expect("good").expect("one");
    assert_eq!(proxy.url(), "http://h:1");
    let spares = |host: &str| proxy.bypass.spares(&host.parse().expect("an endpoint"));
    assert!(spares("a.example:1") && spares("localhost:1") && spares("127.0.0.9:1"));
    assert!(spares("[::1]:1") && !spares("other:1"));
    let upper = read(&[("https_proxy", "low:1"), ("HTTPS_PROXY", "high:1")]);
    assert_eq!(upper.expect("good").expect("one").url(), "http://high:1");
    assert!(read(&[("HTTPS_PROXY", "socks5://h:1")]).is_err());
}

/// Gives this answer to one request; returns what the proxy's client made of it, and the request.
fn ask(text: &str, answer: &'static [u8]) -> (Result<(), ProxyFault>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        stream.write_all(answer).unwrap();
        String::from_utf8(request).unwrap()
    });
    let proxy: Proxy = text.parse().unwrap();
    let opened = smol::block_on(async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let target = "[2001:db8::1]:443".parse().unwrap();
        let opened = proxy.open(&mut stream, &target).await;
        if opened.is_ok() {
            // What follows the head is not the proxy's any more.
            let mut rest = String::new();
            stream.read_to_string(&mut rest).await.unwrap();
            assert_eq!(rest, "hello");
        }
        opened
    });
    (opened, server.join().unwrap())
}

#[test]
fn connect_asks_for_the_target_with_the_credentials() {
    let (opened, request) = ask(
        "u:p@h:1",
        b"HTTP/1.0 200 Connection established\r\n\r\nhello",
    );
    opened.unwrap();
    let expected = "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\
                    Proxy-Authorization: Basic dTpw\r\n\r\n";
    assert_eq!(request, expected);
    let (opened, request) = ask("h:1", b"HTTP/1.1 200 OK\r\nVia: x\r\n\r\nhello");
    opened.unwrap();
    assert!(!request.contains("Authorization"));
}

#[test]
fn every_other_answer_has_its_sentence() {
    for (proxy, answer, part) in [
        ("h:1", &b"HTTP/1.1 407 Auth\r\n\r\n"[..], "wants a user"),
        (
            "u:p@h:1",
            b"HTTP/1.1 407 Auth\r\n\r\n",
            "refuses the user or the password",
        ),
        (
            "u:p@h:1",
            b"HTTP/1.1 401 No\r\n\r\n",
            "refuses the user or the password that it was given (401)",
        ),
        (
            "h:1",
            b"HTTP/1.1 403 Filtered\r\n\r\n",
            "refuses the way to [2001:db8::1]:443 (403 Filtered)",
        ),
        (
            "h:1",
            b"HTTP/1.0 502 Bad\r\n\r\n",
            "finds no way to [2001:db8::1]:443 (502 Bad)",
        ),
        (
            "h:1",
            b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n",
            "(302 Found)",
        ),
        ("h:1", b"SSH-2.0-x\r\n\r\n", "HTTP proxy"),
        ("h:1", b"HTTP/1.1 200 OK\r\n", "ends the connection"),
        ("h:1", b"", "ends the connection"),
    ] {
        let sentence = ask(proxy, answer).0.unwrap_err().to_string();
        assert!(sentence.contains(part), "{sentence}");
    }
    let endless: &'static [u8] = Box::leak(vec![b'a'; MAX_HEAD + 1].into_boxed_slice());
    assert!(matches!(ask("h:1", endless).0, Err(ProxyFault::NoProxy)));
}
