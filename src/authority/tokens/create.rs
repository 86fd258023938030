//! Making tokens that are kept account of, and looking after those that are there.

use std::fmt;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

use super::TokenKey;
use crate::pki::certificate::Certificate;
use crate::store::{MAX_USES, Store, StoreError, TokenId, TokenRecord};
use crate::system::clock::Timestamp;
use crate::system::pattern::NodePattern;

/// What kind of token is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// How long it is good: from a second to `LONGEST`.
    pub ttl: Duration,
    /// Which nodes may use it; none: all.
    pub nodes: Option<NodePattern>,
    /// For how many certificates, 1 to `MAX_USES`; none: any number.
    pub uses: Option<u32>,
    /// What it is for, in a line.
    pub description: String,
}

impl Wish {
    /// A token like KubeEdge's: for all nodes, any number of times.
    pub fn plain(ttl: Duration) -> Wish {
        Wish {
            ttl,
            nodes: None,
            uses: None,
            description: String::new(),
        }
    }

    /// Whether there can be such a token.
    pub fn check(&self) -> Result<(), CreateError> {
        if self.ttl < Duration::from_secs(1) {
            return Err(CreateError::TooShort);
        }
        if self.ttl > LONGEST {
            return Err(CreateError::TooLong);
        }
        if self.uses.is_some_and(|uses| uses == 0 || uses > MAX_USES) {
            return Err(CreateError::Uses);
        }
        let is_line = !self.description.chars().any(char::is_control);
        if !is_line || self.description.chars().count() > MAX_DESCRIPTION {
            return Err(CreateError::Description);
        }
        Ok(())
    }
}

/// A token that is good, and on record.
pub struct Made {
    /// The token itself, a secret that is kept nowhere.
    pub token: String,
    pub record: TokenRecord,
}

/// Makes a token. When it returns, the record outlives a power cut.
pub async fn create(
    store: &dyn Store,
    key: &TokenKey,
    ca: &Certificate,
    now: Timestamp,
    wish: &Wish,
) -> Result<Made, CreateError> {
    wish.check()?;
    let expires = Timestamp::from_unix(now.plus(wish.ttl).unix());
    match ca.not_after() {
        end if end <= now => return Err(CreateError::CaEnded(end)),
        end if end <= expires => return Err(CreateError::CaEnds(end)),
        _ => {}
    }
    store.remove_expired_tokens(now).await?;
    let mut record = TokenRecord {
        id: new_id()?,
        created: now,
        expires,
        nodes: wish.nodes.clone(),
        uses: wish.uses,
        description: wish.description.clone(),
        used: Vec::new(),
    };
    // Of a million million ids one that is taken is hardly met, twice in a row never.
    while !store.create_token(&record).await? {
        record.id = new_id()?;
    }
    Ok(Made {
        token: key.mint_for(&record),
        record,
    })
}

/// The tokens that are good now; some of those that are not any more are forgotten on the way.
pub async fn current(store: &dyn Store, now: Timestamp) -> Result<Vec<TokenRecord>, StoreError> {
    store.remove_expired_tokens(now).await?;
    let mut tokens = store.tokens().await?;
    tokens.retain(|record| record.expires > now);
    Ok(tokens)
}

fn new_id() -> Result<TokenId, CreateError> {
    let mut bytes = [0; 5];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| CreateError::Random)?;
    Ok(TokenId::of(bytes))
}

/// Why no token was made.
#[derive(Debug)]
pub enum CreateError {
    CaEnded(Timestamp),
    /// Before the token would.
    CaEnds(Timestamp),
    Description,
    Random,
    Store(StoreError),
    TooLong,
    TooShort,
    Uses,
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CreateError::CaEnded(end) => write!(
                f,
                "the CA ended at {end}, no device can join it: give the cloud another"
            ),
            CreateError::CaEnds(end) => write!(
                f,
                "the CA ends at {end}, before this token would: use a shorter --ttl"
            ),
            CreateError::Description => write!(
                f,
                "--description: it is one line of at most {MAX_DESCRIPTION} characters"
            ),
            CreateError::Random => f.write_str("the system gives no random numbers: try later"),
            CreateError::Store(error) => error.fmt(f),
            CreateError::TooLong => f.write_str("--ttl: a token lives for ten years at most"),
            CreateError::TooShort => f.write_str("--ttl: a token lives for a second at least"),
            CreateError::Uses => write!(
                f,
                "--uses: it is a number from 1 to {MAX_USES}; without it the token is good for \
                 any number of devices"
            ),
        }
    }
}

impl std::error::Error for CreateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CreateError::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<StoreError> for CreateError {
    fn from(error: StoreError) -> CreateError {
        CreateError::Store(error)
    }
}

/// The longest life of a token.
pub const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// Characters.
const MAX_DESCRIPTION: usize = 200;
