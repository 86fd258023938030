//! A way to a cluster that counts what goes over it.

use std::sync::Arc;

use crate::cloudcore::metrics::Counter;
use crate::kubernetes::{Answer, Api, CallError, Calling, Events, Method, Request};

/// Calls by what was asked and what came of it.
pub struct Counted {
    inner: Arc<dyn Api>,
    counts: [[Counter; RESULTS.len()]; VERBS.len()],
}

impl Counted {
    pub fn new(inner: Arc<dyn Api>) -> Counted {
        Counted {
            inner,
            counts: Default::default(),
        }
    }

    /// Verb, result, and how often; those that never were are left out.
    pub fn counts(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut all = Vec::new();
        for (verb, results) in VERBS.iter().zip(&self.counts) {
            for (result, count) in RESULTS.iter().zip(results) {
                let count = count.get();
                if count > 0 {
                    all.push((*verb, *result, count));
                }
            }
        }
        all
    }

    fn count<T>(&self, verb: usize, result: &Result<T, CallError>) {
        let result = match result {
            Ok(_) => 0,
            Err(CallError::Refused(status)) => match status.code {
                401 | 403 => 1,
                404 => 2,
                409 => 3,
                429 => 4,
                500.. => 5,
                _ => 6,
            },
            Err(CallError::Unreachable { .. } | CallError::Untrusted { .. }) => 7,
            Err(CallError::Unknown { .. }) => 8,
            Err(_) => 9,
        };
        self.counts[verb][result].add();
    }
}

impl Api for Counted {
    fn call<'a>(&'a self, request: &'a Request) -> Calling<'a, Answer> {
        Box::pin(async move {
            let result = self.inner.call(request).await;
            self.count(verb(request), &result);
            result
        })
    }

    fn watch<'a>(&'a self, request: &'a Request) -> Calling<'a, Box<dyn Events>> {
        Box::pin(async move {
            let result = self.inner.watch(request).await;
            self.count(WATCH, &result);
            result
        })
    }
}

/// Its place in `VERBS`.
fn verb(request: &Request) -> usize {
    let is_list = || request.query.iter().any(|(key, _)| *key == "limit");
    match request.method {
        Method::Delete => 0,
        Method::Get if is_list() => 2,
        Method::Get => 1,
        Method::Patch => 3,
        Method::Post => 4,
        Method::Put => 5,
    }
}

const WATCH: usize = 6;
const VERBS: [&str; 7] = [
    "delete", "get", "list", "patch", "create", "update", "watch",
];
const RESULTS: [&str; 10] = [
    "ok",
    "denied",
    "not-found",
    "conflict",
    "too-many",
    "server-error",
    "refused",
    "unreachable",
    "unknown",
    "other",
];

#[cfg(test)]
mod tests {
    use smol::block_on;

    use super::*;
    use crate::kubernetes::resource::NAMESPACES;
    use crate::kubernetes::testing::FakeCluster;

    #[test]
    fn calls_are_counted_by_verb_and_result() {
        let fake = FakeCluster::new();
        let api = Counted::new(fake.api());
        let get = |name| Request::get(&NAMESPACES, None, name);
        block_on(api.call(&get("default"))).unwrap();
        block_on(api.call(&get("none"))).unwrap_err();
        block_on(api.call(&Request::list(&NAMESPACES, None))).unwrap();
        fake.set_down(true);
        block_on(api.call(&get("default"))).unwrap_err();
        drop(block_on(api.watch(&Request::watch(&NAMESPACES, None, "1"))));
        let expected = [
            ("get", "ok", 1),
            ("get", "not-found", 1),
            ("get", "unreachable", 1),
            ("list", "ok", 1),
            ("watch", "unreachable", 1),
        ];
        assert_eq!(api.counts(), expected);
    }
}
