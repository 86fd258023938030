//! The way that keeps connections.

use std::future::Future;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use smol::Executor;

use super::server::{HOUR, Reply, Server, json};
use crate::kubernetes::access::{Login, Material};
use crate::kubernetes::pooled::{CONNECTIONS, Pooled, Spawn, WAITERS};
use crate::kubernetes::resource::{CONFIG_MAPS, NODES};
use crate::kubernetes::{Answer, Api, CallError, EventKind, Request};
use crate::system::clock::Clock;
use crate::system::secret::Secret;

/// Runs a test with an executor for the connections.
pub fn run<F: Future<Output = ()>>(test: impl FnOnce(Spawn) -> F) {
    let executor = Arc::new(Executor::new());
    let spawner = executor.clone();
    let spawn: Spawn = Arc::new(move |task| spawner.spawn(task).detach());
    smol::block_on(executor.run(test(spawn)));
}

pub fn pooled(server: &Server, spawn: &Spawn) -> Pooled {
    Pooled::new(server.access(), &Clock::system(), spawn.clone()).unwrap()
}

/// Calls at the same time.
async fn at_once(
    spawn: &Spawn,
    calls: impl Iterator<Item = (Pooled, Request)>,
) -> Vec<Result<Answer, CallError>> {
    let (sender, done) = smol::channel::unbounded();
    let mut answers = Vec::new();
    for (pooled, request) in calls {
        let sender = sender.clone();
        spawn(Box::pin(async move {
            let _ = sender.try_send(pooled.call(&request).await);
        }));
    }
    drop(sender);
    while let Ok(answer) = done.recv().await {
        answers.push(answer);
    }
    answers
}

fn get() -> Request {
    Request::get(&NODES, None, "n")
}

#[test]
fn connections_are_kept_and_few() {
    let server = Server::start(|_| Reply::Keep(json(200, "{}")));
    run(|spawn| async move {
        let pooled = pooled(&server, &spawn);
        for _ in 0..3 {
            pooled.call(&get()).await.unwrap();
        }
        assert_eq!(server.connections.load(Ordering::SeqCst), 1);
        let request = get();
        let many = (0..150).map(|_| (pooled.clone(), request.clone()));
        for answer in at_once(&spawn, many).await {
            answer.unwrap();
        }
        assert!(server.connections.load(Ordering::SeqCst) <= CONNECTIONS);
        assert_eq!(server.asked().len(), 153);
    });
}

#[test]
fn too_many_that_wait_are_told_so() {
    let server = Server::start(|_| Reply::Hang(Vec::new()));
    run(|spawn| async move {
        let pooled = pooled(&server, &spawn);
        let (sender, answers) = smol::channel::unbounded();
        for _ in 0..CONNECTIONS + WAITERS + 10 {
            let (pooled, sender) = (pooled.clone(), sender.clone());
            spawn(Box::pin(async move {
                let _ = sender.try_send(pooled.call(&get().within(HOUR)).await);
            }));
        }
        for _ in 0..10 {
            let answer = answers.recv().await.unwrap();
            assert!(matches!(answer, Err(CallError::Busy)), "{answer:?}");
        }
        // The others have a place or wait for one.
        assert!(answers.try_recv().is_err());
    });
}

#[test]
fn a_connection_that_has_ended_is_not_noticed() {
    // The server ends each connection behind its answer without a word before.
    let server = Server::start(|_| Reply::End(json(200, "{}")));
    run(|spawn| async move {
        let pooled = pooled(&server, &spawn);
        let create = Request::create(&CONFIG_MAPS, Some("n"), &serde_json::json!({}));
        for _ in 0..5 {
            pooled.call(&get()).await.unwrap();
            // By now the end may be on its way, or here.
            smol::future::yield_now().await;
        }
        assert_eq!(server.asked().len(), 5);
        let answer = pooled.call(&create).await;
        assert!(
            matches!(answer, Ok(_) | Err(CallError::Unknown { .. })),
            "{answer:?}"
        );
    });
}

#[test]
fn a_call_that_gets_no_answer_ends_in_time() {
    let server = Server::start(|asked| match asked.target.contains("half") {
        true => Reply::Hang(b"HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\n{".to_vec()),
        false => Reply::End(b"SSH-2.0-x\r\n".to_vec()),
    });
    run(|spawn| async move {
        let pooled = pooled(&server, &spawn);
        let half = Request::create(&CONFIG_MAPS, Some("half"), &serde_json::json!({}));
        let half = half.within(Duration::from_millis(200));
        let error = pooled.call(&half).await.unwrap_err();
        assert!(matches!(error, CallError::Unknown { .. }), "{error}");
        let error = pooled.call(&get()).await.unwrap_err();
        assert!(matches!(error, CallError::Strange(_)), "{error}");
    });
}

#[test]
fn watches_tell_have_ends_and_are_cut() {
    let line = |kind: &str| format!("{{\"type\":\"{kind}\",\"object\":{{\"a\":1}}}}\n");
    let chunked = |text: &str| {
        format!(
            "HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{text}\r\n",
            text.len()
        )
    };
    let added = line("ADDED");
    let server = Server::start(move |asked| {
        let part = asked.target.split('/').nth(4).unwrap();
        match part {
            "whole" => Reply::Keep((chunked(&added) + "0\r\n\r\n").into_bytes()),
            "cut" => Reply::End(chunked(&added[..20]).into_bytes()),
            "silent" => Reply::Hang(chunked(&added).into_bytes()),
            "hang" => Reply::Hang(Vec::new()),
            _ => Reply::Keep(json(410, "{\"message\":\"old\",\"reason\":\"Expired\"}")),
        }
    });
    run(|spawn| async move {
        let pooled = pooled(&server, &spawn);
        let watch = |namespace: &str| {
            let request = Request::watch(&CONFIG_MAPS, Some(namespace), "1");
            request.within(Duration::from_secs(20))
        };
        let mut events = pooled.watch(&watch("whole")).await.unwrap();
        assert_eq!(events.next().await.unwrap().unwrap().kind, EventKind::Added);
        assert!(events.next().await.unwrap().is_none());

        let mut events = pooled.watch(&watch("cut")).await.unwrap();
        let error = events.next().await.unwrap_err();
        assert!(matches!(error, CallError::Unreachable { .. }), "{error}");

        let request = watch("silent");
        let mut events = pooled.watch(&request).await.unwrap();
        events.next().await.unwrap().unwrap();
        // Nothing comes, and nothing ends, for as long as the server may be silent.
        let waited = smol::future::or(async { Some(events.next().await) }, async {
            smol::Timer::after(Duration::from_millis(200)).await;
            None
        });
        assert!(waited.await.is_none());

        let hang = watch("hang").within(Duration::from_millis(200));
        let error = pooled.watch(&hang).await.err().unwrap();
        assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
        let error = pooled.watch(&watch("old")).await.err().unwrap();
        assert!(error.is_too_old(), "{error}");
        // Calls have connections of their own.
        let kept: Vec<_> = server.asked().iter().map(|it| it.connection).collect();
        assert_eq!(kept, [0, 1, 2, 3, 4]);
    });
}

#[test]
fn a_token_is_renewed_for_calls_and_watches() {
    let path = crate::system::scratch::Scratch::new();
    let token = path.path().join("token");
    let files = crate::system::files::Files::real();
    files.replace(&token, b"new", 0o600).unwrap();
    let first = Mutex::new(2);
    // Refuses once each.
    let server = Server::start(move |asked| {
        assert_eq!(asked.header("authorization"), Some("Bearer new"));
        let mut left = first.lock().unwrap();
        *left -= 1;
        Reply::Keep(json(if *left >= 0 { 401 } else { 200 }, "{}"))
    });
    run(|spawn| async move {
        let mut access = server.access();
        access.login = Login::TokenFile(token);
        let pooled = Pooled::new(access, &Clock::system(), spawn).unwrap();
        // The same token is not shown again.
        let error = pooled.call(&get()).await.unwrap_err();
        assert_eq!(error.status().unwrap().code, 401);
        let watch = Request::watch(&NODES, None, "1");
        let error = pooled.watch(&watch).await.err().unwrap();
        assert_eq!(error.status().unwrap().code, 401);
        pooled.call(&get()).await.unwrap();
        assert_eq!(server.asked().len(), 3);
    });
}

#[test]
fn what_a_daemon_can_not_use_is_refused() {
    let server = Server::start(|_| Reply::Keep(json(200, "{}")));
    run(|spawn| async move {
        let mut access = server.access();
        access.authorities = Some(Material::Inline(Secret::new(b"no PEM".to_vec())));
        let pooled = Pooled::new(access, &Clock::system(), spawn.clone()).unwrap();
        let begun = Instant::now();
        let error = pooled.call(&get()).await.unwrap_err();
        assert!(matches!(error, CallError::Credentials(_)), "{error}");
        assert!(
            error.to_string().starts_with("a test: the CA's file"),
            "{error}"
        );
        assert!(begun.elapsed() < Duration::from_secs(60));
        let mut access = server.access();
        access.login = Login::Program(Box::new(crate::kubernetes::access::Program {
            command: "x".into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            api_version: "client.authentication.k8s.io/v1",
            tell_cluster: false,
            cluster_config: None,
            install_hint: String::new(),
        }));
        let error = Pooled::new(access, &Clock::system(), spawn).err().unwrap();
        assert!(
            error.to_string().contains("a daemon starts no programs"),
            "{error}"
        );
    });
}
