//! The tokens of this machine's cloud, by the running cloudcore or, when none runs, by its files; or
//! those of a cluster, when one is named.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::TokenFault;
use crate::authority::tokens::{self, TokenFacts, Wish};
use crate::authority::{AuthorityError, Standing};
use crate::config::cloud::CloudConfig;
use crate::keadm::cluster::Cluster;
use crate::keadm::out::Report;
use crate::protocol::control::{
    self, CLOUD_SOCKET, Client, CloudOp, ControlError, Dial, Reply, Request, TokenLine,
};
use crate::protocol::token::JoinToken;
use crate::store::file::{FileStore, Options};
use crate::store::{KeyPair, Store, StoreError, TokenId};
use crate::system::clock::Timestamp;
use crate::system::exit;
use crate::system::host::Host;
use crate::system::network;

/// Whoever keeps the tokens here.
pub struct Cloud<'a> {
    host: &'a Host,
    /// Where the state is, when it is not this machine's.
    cluster: Option<Cluster>,
}

/// A token that was good when it was made.
#[derive(Debug, Serialize)]
pub struct Minted {
    #[serde(serialize_with = "reveal")]
    pub token: JoinToken,
    /// None when a cloudcore made it that keeps no account of tokens.
    pub id: Option<String>,
    pub expires: Timestamp,
    #[serde(skip)]
    pub dial: Option<Dial>,
}

impl<'a> Cloud<'a> {
    /// The cloud of this machine, or the one in the cluster that a kubeconfig names.
    pub fn of(host: &'a Host, kube_config: Option<&str>) -> Result<Cloud<'a>, TokenFault> {
        let cluster = kube_config.map(|file| Cluster::open(host, file));
        Ok(Cloud {
            host,
            cluster: cluster.transpose()?,
        })
    }

    /// Makes a token. Never makes a CA: there has to be one.
    pub fn create(&self, wish: &Wish) -> Result<Minted, TokenFault> {
        match &self.cluster {
            Some(cluster) => self.create_there(cluster, wish),
            None => self.create_here(wish, PATIENCE_FOR_START),
        }
    }

    /// The same; and where no cloud is on this machine, by the cluster that kubectl would find.
    pub fn create_anywhere(&self, wish: &Wish) -> Result<Minted, TokenFault> {
        match self.create_here(wish, Duration::ZERO) {
            Err(TokenFault::NoCa) => match Cluster::by_default(self.host)? {
                Some(cluster) => self.create_there(&cluster, wish),
                None => self.create(wish),
            },
            outcome => outcome,
        }
    }

    /// On this machine, where a cloudcore that was started just before may need that long to be seen.
    fn create_here(&self, wish: &Wish, grace: Duration) -> Result<Minted, TokenFault> {
        let began = Instant::now();
        loop {
            let made = self.either(|| self.ask_for(wish), || self.create_from_files(wish));
            let patience = match made {
                // At its first start it holds the lock before it has made its CA.
                Err(TokenFault::NoCa) => match self.is_open()? {
                    true => PATIENCE,
                    false => grace,
                },
                made => return made,
            };
            if began.elapsed() >= patience {
                return made;
            }
            sleep(RETRY);
        }
    }

    /// The tokens that are good now.
    pub fn list(&self) -> Result<Vec<TokenFacts>, TokenFault> {
        let of = |store: &dyn Store| {
            let now = self.host.clock.now();
            let current = smol::block_on(tokens::current(store, now))?;
            Ok(current.iter().map(TokenFacts::of).collect())
        };
        match &self.cluster {
            Some(cluster) => of(cluster.store()),
            None => self.either(|| self.ask_for_list(), || of(&self.files()?.0)),
        }
    }

    /// Makes an end of a token at once.
    pub fn delete(&self, id: &TokenId) -> Result<(), TokenFault> {
        let ask = || {
            let request = Request {
                id: Some(id.to_string()),
                ..Request::new(CloudOp::TokenDelete)
            };
            Ok(self.ask(&request)?.id.is_some())
        };
        let by_files = || Ok(smol::block_on(self.files()?.0.remove_token(id))?);
        let known = match &self.cluster {
            Some(cluster) => smol::block_on(cluster.store().remove_token(id))?,
            None => self.either(ask, by_files)?,
        };
        known.then_some(()).ok_or(TokenFault::Absent(id.clone()))
    }

    /// Asks the running cloudcore; when there is none, does it with the files.
    fn either<T>(
        &self,
        ask: impl Fn() -> Result<T, TokenFault>,
        by_files: impl Fn() -> Result<T, TokenFault>,
    ) -> Result<T, TokenFault> {
        let end = Instant::now() + PATIENCE;
        loop {
            match ask() {
                Err(TokenFault::Control(ControlError::NotRunning)) => {}
                outcome => return outcome,
            }
            match by_files() {
                // A cloudcore that is about to start or to end has the lock and no socket.
                Err(TokenFault::Store(StoreError::Locked { .. })) if Instant::now() < end => {
                    sleep(RETRY);
                }
                outcome => return outcome,
            }
        }
    }

    fn ask(&self, request: &Request) -> Result<Reply, TokenFault> {
        let socket = self.host.root.at(CLOUD_SOCKET);
        let reply: Reply = control::call(&socket, request, PATIENCE)?;
        match reply.error {
            Some(why) => Err(TokenFault::Refused(why)),
            None => Ok(reply),
        }
    }

    fn ask_for(&self, wish: &Wish) -> Result<Minted, TokenFault> {
        // What every cloudcore understands is asked for in the way that every one does.
        let is_plain = *wish == Wish::plain(wish.ttl);
        let request = Request {
            ttl: Some(wish.ttl.as_secs()),
            node: wish.nodes.as_ref().map(ToString::to_string),
            uses: wish.uses,
            description: Some(wish.description.clone()).filter(|text| !text.is_empty()),
            ..Request::new(if is_plain {
                CloudOp::GetToken
            } else {
                CloudOp::TokenCreate
            })
        };
        let reply = self.ask(&request)?;
        let token = reply.token.ok_or(TokenFault::NoReason)?;
        self.judge(&token, reply.id, reply.dial)
    }

    fn ask_for_list(&self) -> Result<Vec<TokenFacts>, TokenFault> {
        let socket = self.host.root.at(CLOUD_SOCKET);
        let mut lines = Client::ask(&socket, &Request::new(CloudOp::TokenList), PATIENCE)?;
        let mut tokens = Vec::new();
        while let Some(line) = lines.line::<TokenLine<TokenFacts>>()? {
            match (line.token, line.error, line.message) {
                (Some(token), ..) => tokens.push(token),
                (None, Some(why), _) => return Err(TokenFault::Refused(why)),
                (None, None, Some(_)) => return Ok(tokens),
                (None, None, None) => break,
            }
        }
        // A list without its end would be taken for the whole.
        Err(ControlError::Io(std::io::ErrorKind::UnexpectedEof.into()).into())
    }

    fn create_from_files(&self, wish: &Wish) -> Result<Minted, TokenFault> {
        let (store, pair) = self.files()?;
        let standing = standing(&store, &pair)?;
        let (token, id) = self.made(&store, &standing, wish)?;
        self.judge(&token, Some(id), self.dial())
    }

    fn create_there(&self, cluster: &Cluster, wish: &Wish) -> Result<Minted, TokenFault> {
        let store = cluster.store();
        let pair = smol::block_on(store.load_ca())?.ok_or(TokenFault::NoCaThere)?;
        let standing = standing(store, &pair)?;
        let denied = match self.made(store, &standing, wish) {
            Ok((token, id)) => return self.judge(&token, Some(id), None),
            Err(error) => error,
        };
        // Who may read and not write gets the token that is there, when no other was asked for.
        let plain = *wish == Wish::plain(wish.ttl) && denied.code() == exit::DENIED;
        let shared = match plain {
            true => cluster.shared_token(&standing.tokens, self.host)?,
            false => None,
        };
        match shared {
            Some(token) => self.judge(&token, None, None),
            None => Err(denied),
        }
    }

    fn made(
        &self,
        store: &dyn Store,
        standing: &Standing,
        wish: &Wish,
    ) -> Result<(String, String), TokenFault> {
        let now = self.host.clock.now();
        let made = tokens::create(store, &standing.tokens, &standing.announced, now, wish);
        let made = smol::block_on(made)?;
        Ok((made.token, made.record.id.to_string()))
    }

    fn files(&self) -> Result<(FileStore, KeyPair), TokenFault> {
        let host = self.host;
        // Opening the store would make its folders, on a machine that may have no cloud at all.
        if !FileStore::has_ca(&host.files, &host.root)? {
            return Err(TokenFault::NoCa);
        }
        let store = FileStore::open(&host.files, &host.root, Options::default())?;
        let pair = smol::block_on(store.load_ca())?.ok_or(TokenFault::NoCa)?;
        Ok((store, pair))
    }

    fn is_open(&self) -> Result<bool, TokenFault> {
        Ok(FileStore::is_open(&self.host.files, &self.host.root)?)
    }

    /// Whoever made it: what is handed out is whole and has not expired.
    fn judge(
        &self,
        token: &str,
        id: Option<String>,
        dial: Option<Dial>,
    ) -> Result<Minted, TokenFault> {
        let token: JoinToken = token.parse().map_err(TokenFault::Malformed)?;
        match token.expires() {
            Some(expires) if expires > self.host.clock.now() => Ok(Minted {
                token,
                id,
                expires,
                dial,
            }),
            expires => Err(TokenFault::Expired(expires)),
        }
    }

    /// Where devices will dial the cloud once it runs, by its configuration.
    fn dial(&self) -> Option<Dial> {
        let path = self.host.root.at(CONFIG);
        let bytes = self.host.files.read_opt(&path, MAX_CONFIG).ok()?;
        let text = String::from_utf8(bytes.unwrap_or_default()).ok()?;
        let (config, _) = CloudConfig::load(&text, CONFIG).ok()?;
        let host = config.hub.dialled();
        Some(Dial {
            host: host.unwrap_or_else(|| network::outward_address().to_string()),
            hub_port: config.hub.single_port.unwrap_or(config.hub.websocket.port),
            certificate_port: config.hub.single_port.unwrap_or(config.hub.https.port),
        })
    }
}

fn standing(store: &dyn Store, pair: &KeyPair) -> Result<Standing, TokenFault> {
    let standing = smol::block_on(Standing::load(store, pair));
    standing.map_err(|error| match error {
        AuthorityError::Store(error) => TokenFault::Store(error),
        error => TokenFault::Refused(error.to_string()),
    })
}

impl Report for Minted {
    fn text(&self) -> String {
        format!("{}\n", *self.token.secret_string())
    }
}

fn reveal<S: serde::Serializer>(token: &JoinToken, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&token.secret_string())
}

/// Where cloudcore looks for its configuration.
const CONFIG: &str = "/etc/kubeedge/config/cloudcore.yaml";
/// Bytes.
const MAX_CONFIG: usize = 1 << 20;
/// How long to wait for cloudcore's answer, or for a cloudcore that starts or stops.
const PATIENCE: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(50);
/// From the start of a cloudcore to its lock, on a machine that has much to do.
const PATIENCE_FOR_START: Duration = Duration::from_secs(2);

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
