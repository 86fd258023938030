//! Through an HTTP proxy, and over IPv6.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use super::server::{Reply, Server, json};
use crate::kubernetes::Request;
use crate::kubernetes::plain::{self, Plain};
#[cfg(feature = "cloud")]
use crate::kubernetes::pooled::Pooled;
use crate::kubernetes::resource::NODES;
use crate::system::clock::Clock;

/// Opens ways; what it was asked for.
fn proxy() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let kept = asked.clone();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && client.read_exact(&mut byte).is_ok() {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
            kept.lock().unwrap().push(head);
            let Ok(server) = TcpStream::connect(target.replace("k.example", "127.0.0.1")) else {
                continue;
            };
            let _ = client.write_all(b"HTTP/1.1 200 Fine\r\n\r\n");
            for (mut from, mut to) in [
                (client.try_clone().unwrap(), server.try_clone().unwrap()),
                (server, client),
            ] {
                std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            }
        }
    });
    (port, asked)
}

#[test]
fn both_ways_go_through_a_proxy_which_knows_the_name() {
    let names = ["k.example".to_owned()];
    let server = Server::named(&names, &[], |_| Reply::End(json(200, "{}")));
    let (port, asked) = proxy();
    let mut access = server.access();
    // A name that only the proxy can resolve.
    access.server = format!("https://k.example:{}", server.port)
        .parse()
        .unwrap();
    access.proxy = Some(
        format!("http://me:geheim@127.0.0.1:{port}")
            .parse()
            .unwrap(),
    );
    let get = Request::get(&NODES, None, "n");
    let plain = Plain::new(access.clone(), &Clock::system());
    plain::wait(crate::kubernetes::Api::call(&plain, &get)).unwrap();
    #[cfg(feature = "cloud")]
    super::pooled::run(|spawn| async move {
        let pooled = Pooled::new(access, &Clock::system(), spawn).unwrap();
        crate::kubernetes::Api::call(&pooled, &get).await.unwrap();
    });
    let asked = asked.lock().unwrap().clone();
    assert!(!asked.is_empty() && asked.len() == server.asked().len());
    for head in asked {
        let target = format!("CONNECT k.example:{} ", server.port);
        assert!(head.starts_with(&target), "{head}");
        assert!(
            head.contains("Proxy-Authorization: Basic bWU6Z2VoZWlt"),
            "{head}"
        );
    }
    let host = server.asked().pop().unwrap();
    let host = host.header("host").unwrap().to_owned();
    assert_eq!(host, format!("k.example:{}", server.port));
}
