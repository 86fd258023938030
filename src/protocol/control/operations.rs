//! What can be asked on the local sockets, each with the fields of a `Request` that belong to it.

/// What one daemon can be asked.
pub trait Op: Copy {
    /// As the line has it.
    fn word(self) -> &'static str;
}

macro_rules! operations {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $op:ident $word:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $op,)*
        }

        impl $name {
            pub const ALL: &[$name] = &[$($name::$op,)*];

            /// `None` for a word that this program does not know.
            pub fn named(word: &str) -> Option<$name> {
                Self::ALL.iter().copied().find(|op| op.word() == word)
            }
        }

        impl Op for $name {
            fn word(self) -> &'static str {
                match self {
                    $($name::$op => $word,)*
                }
            }
        }
    };
}

operations! {
    /// What edgecore can be asked. None has a field.
    EdgeOp {
        /// Of everybody: one `EdgeStatus`.
        Status "status",
        /// Of everybody: an `EdgeStatus` now and at every change.
        Watch "watch",
        /// What edgecore remembers of its log.
        Log "log",
        /// Read the configuration and the token again.
        Reload "reload",
        /// Get a fresh certificate now.
        Renew "renew",
    }
}

operations! {
    /// What cloudcore can be asked, by root and its own user.
    CloudOp {
        /// `names`: for the serving certificate, until the next start.
        AddSan "add-san",
        /// `step`, `force`, `dry_run`. Answered by a `CaReport`.
        CaRotate "ca-rotate",
        /// Answered by a `CaReport`.
        CaStatus "ca-status",
        /// `ttl`: a token that is good for every node; what every cloudcore understands.
        GetToken "gettoken",
        /// `name`.
        JobCancel "job-cancel",
        /// `name`, `names`, `selector`, `body`.
        JobCreate "job-create",
        /// `name`.
        JobResume "job-resume",
        /// `names`. Answered by `ObjectLine`s.
        Jobs "jobs",
        /// `name`.
        NodeDelete "node-delete",
        /// `name`, `names`.
        NodeLabel "node-label",
        /// Answered by `NodeRow`s.
        Nodes "nodes",
        /// `names`, `selector`, `namespace`, `body`.
        ObjectApply "object-apply",
        /// `kind`, `name`, `namespace`, `force`.
        ObjectDelete "object-delete",
        /// `kind`, `names`, `namespace`. Answered by `ObjectLine`s.
        ObjectGet "object-get",
        /// Answered by `RevokedNode`s.
        Revocations "revocations",
        /// `names`. Answered by `RevokedNode`s.
        Revoke "revoke",
        /// `names`. Answered by `HubSession`s.
        Sessions "sessions",
        /// Answered by a `CloudStatus`.
        Status "status",
        /// `ttl`, `node`, `uses`, `description`.
        TokenCreate "token-create",
        /// `id`.
        TokenDelete "token-delete",
        /// Answered by `TokenLine`s.
        TokenList "token-list",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_names_its_own_operation() {
        for op in CloudOp::ALL {
            assert_eq!(CloudOp::named(op.word()), Some(*op));
        }
        for op in EdgeOp::ALL {
            assert_eq!(EdgeOp::named(op.word()), Some(*op));
        }
        for word in ["", "node", "Nodes", "node-delete ", "reload"] {
            assert_eq!(CloudOp::named(word), None, "{word:?}");
        }
        assert_eq!(EdgeOp::named("revoke"), None);
    }
}
