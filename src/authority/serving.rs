//! The serving certificate: which names it needs, when it is too old, and how it is made.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use log::{info, warn};

use super::ca::read_pair;
use super::{AuthorityError, BACKDATE, DAY, PairFiles};
use crate::pki::PkiError;
use crate::pki::certificate::Certificate;
use crate::pki::chain;
use crate::pki::issue::Issuer;
use crate::pki::key::PrivateKey;
use crate::store::{KeyPair, Store};
use crate::system::clock::Timestamp;
use crate::system::files::Files;
use crate::system::sorted::SortedSet;
use crate::system::{facts, network};

/// The addresses and DNS names that a serving certificate is for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    addresses: SortedSet<IpAddr>,
    dns: SortedSet<String>,
}

impl Names {
    pub fn new(advertised: &[String], dns_names: &[String]) -> Names {
        let mut names = Names::default();
        names.add(advertised);
        names.add(dns_names);
        names
    }

    /// Adds addresses and names; empty ones, which KubeEdge's default configuration has, say
    /// nothing.
    pub fn add(&mut self, texts: &[String]) {
        for text in texts.iter().map(|text| text.trim()) {
            if let Some(address) = address(text) {
                self.addresses.insert(address);
            } else if is_dns_name(text) {
                self.dns.insert(text.to_ascii_lowercase());
            } else if !text.is_empty() {
                warn!("{text:?} is no address and no DNS name: the certificate goes without it");
            }
        }
    }

    /// The first that is neither an address nor a DNS name.
    pub fn unfit(texts: &[String]) -> Option<&str> {
        let mut texts = texts.iter().map(|text| text.trim());
        texts.find(|text| address(text).is_none() && !is_dns_name(text))
    }

    /// With what this machine is called and reached by, as far as there is room.
    pub fn with_local(mut self) -> Names {
        self.add(&["localhost".to_owned(), facts::host_name()]);
        self.addresses
            .extend([IpAddr::from([127, 0, 0, 1]), IpAddr::from(LOOPBACK_V6)]);
        let room = MAX_NAMES.saturating_sub(self.addresses.len());
        let local = network::local_addresses()
            .into_iter()
            .filter(|a| is_reachable(*a));
        self.addresses.extend(local.take(room));
        self
    }

    fn missing_in(&self, certificate: &Certificate) -> Vec<String> {
        let addresses: SortedSet<_> = certificate.ip_addresses().iter().copied().collect();
        let dns: SortedSet<_> = certificate
            .dns_names()
            .iter()
            .map(|name| name.to_ascii_lowercase())
            .collect();
        let missing_addresses = self.addresses.difference(&addresses).map(IpAddr::to_string);
        missing_addresses
            .chain(self.dns.difference(&dns).cloned())
            .collect()
    }
}

/// Why a serving pair has to make way for a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Less than 30 % of its life is left.
    Ending,
    /// It begins in the future, though the CA does not.
    Early,
    /// It is not by our CA, or not for servers.
    Foreign,
    /// These addresses and names are not in it.
    Missing(Vec<String>),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Ending => f.write_str("the old one ends soon"),
            Fault::Early => f.write_str("the old one begins in the future"),
            Fault::Foreign => f.write_str("the old one is not by this CA, or not for a server"),
            Fault::Missing(names) => write!(f, "the old one lacks {}", names.join(", ")),
        }
    }
}

/// The pair to serve with: the stored one, a Go cloudcore's, or a new one.
pub async fn open(
    store: &dyn Store,
    files: &Files,
    given: &PairFiles,
    issuer: &Issuer,
    wanted: &Names,
    now: Timestamp,
) -> Result<KeyPair, AuthorityError> {
    let ca = issuer.certificate();
    let wanted = wanted.clone().with_local();
    // A serving pair can be made again at any time; so one that can't be read is no disaster.
    let stored = store.load_serving().await.unwrap_or_else(|error| {
        warn!("a new serving certificate is made: {error}");
        None
    });
    if let Some(stored) = stored {
        match fault(stored.certificate(), ca, &wanted, now) {
            None => return Ok(stored),
            Some(fault) => info!("a new serving certificate is needed: {fault}"),
        }
    }
    let taken = read_pair(files, given).await.ok().flatten();
    let taken = taken.filter(|pair| fault(pair.certificate(), ca, &wanted, now).is_none());
    let pair = taken.map_or_else(|| make(issuer, &wanted, now), Ok)?;
    store.save_serving(&pair).await?;
    Ok(pair)
}

/// What is wrong with a serving certificate, if anything.
pub fn fault(
    certificate: &Certificate,
    ca: &Certificate,
    wanted: &Names,
    now: Timestamp,
) -> Option<Fault> {
    let (begin, end) = (certificate.not_before(), certificate.not_after());
    // Asked about its first moment, so that only signature and usage decide.
    if chain::verify_server(certificate, std::slice::from_ref(ca), begin).is_err() {
        return Some(Fault::Foreign);
    }
    // When the CA has not begun either, the clock is wrong, and a new certificate no better.
    if now < begin && now >= ca.not_before() {
        return Some(Fault::Early);
    }
    if now >= begin && end.since(now) < end.since(begin).mul_f64(0.3) {
        return Some(Fault::Ending);
    }
    let missing = wanted.missing_in(certificate);
    (!missing.is_empty()).then_some(Fault::Missing(missing))
}

/// A new key with a certificate of one year, or as long as the CA lasts.
pub fn make(issuer: &Issuer, names: &Names, now: Timestamp) -> Result<KeyPair, AuthorityError> {
    let ca = issuer.certificate();
    if ca.not_after() <= now {
        return Err(PkiError::Expired {
            not_after: ca.not_after(),
            now,
        }
        .into());
    }
    let key = PrivateKey::generate()?;
    let (dns, addresses): (Vec<_>, Vec<_>) = (
        names.dns.iter().cloned().collect(),
        names.addresses.iter().copied().collect(),
    );
    let end = now.plus(LIFE).min(ca.not_after());
    let certificate = issuer.server(&key, &dns, &addresses, now.minus(BACKDATE), end)?;
    info!("a new serving certificate is valid until {end}");
    Ok(KeyPair::new(certificate, key).ok_or(PkiError::KeyMismatch)?)
}

fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok()
}

/// Letters, digits, hyphens, underscores and dots; a wildcard may stand in front.
fn is_dns_name(text: &str) -> bool {
    let rest = text.strip_prefix("*.").unwrap_or(text);
    let label = |label: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        (1..=63).contains(&label.len()) && label.chars().all(allowed)
    };
    rest.len() <= 253 && rest.split('.').all(label)
}

/// Nobody can verify an address whose meaning depends on the interface.
fn is_reachable(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !address.is_unspecified(),
        IpAddr::V6(address) => !address.is_unspecified() && !address.is_unicast_link_local(),
    }
}

const LOOPBACK_V6: [u16; 8] = [0, 0, 0, 0, 0, 0, 0, 1];

const LIFE: Duration = Duration::from_secs(365 * DAY.as_secs());

/// Addresses in one certificate: what every device must read in each handshake has to stay small.
const MAX_NAMES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::testing::{Cloud, recorded, recorded_at};
    use crate::pki::issue::new_ca;

    fn texts(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn names_are_told_from_addresses_and_cleaned() {
        let advertised = [
            "192.0.2.1",
            "[2001:db8::1]",
            "2001:db8::2",
            " cloud.Example ",
            "",
        ];
        let names = Names::new(
            &texts(&advertised),
            &texts(&["", "*.Edge.example", "a b", "x..y"]),
        );
        let addresses: Vec<_> = names.addresses.iter().map(IpAddr::to_string).collect();
        assert_eq!(addresses, ["192.0.2.1", "2001:db8::1", "2001:db8::2"]);
        let dns: Vec<_> = names.dns.iter().map(String::as_str).collect();
        assert_eq!(dns, ["*.edge.example", "cloud.example"]);
        let local = names.with_local();
        assert!(local.addresses.contains(&IpAddr::from([127, 0, 0, 1])));
        assert!(local.addresses.contains(&IpAddr::from(LOOPBACK_V6)));
        assert!(local.dns.contains("localhost"));
        assert!(local.addresses.len() <= MAX_NAMES);
    }

    #[test]
    fn what_is_wrong_with_a_pair_is_found() {
        let (ca, key) = new_ca(recorded_at()).unwrap();
        let issuer = Issuer::new(ca.clone(), key).unwrap();
        let wanted = Names::new(&texts(&["192.0.2.1", "a.example"]), &[]);
        let pair = make(&issuer, &wanted, recorded_at()).unwrap();
        assert_eq!(fault(pair.certificate(), &ca, &wanted, recorded_at()), None);
        assert_eq!(
            fault(pair.certificate(), &ca, &Names::default(), recorded_at()),
            None
        );

        let more = Names::new(&texts(&["192.0.2.2", "a.example", "b.example"]), &[]);
        let missing = Fault::Missing(texts(&["192.0.2.2", "b.example"]));
        assert_eq!(
            fault(pair.certificate(), &ca, &more, recorded_at()),
            Some(missing)
        );

        let life = LIFE + BACKDATE;
        let (begin, end) = (
            pair.certificate().not_before(),
            pair.certificate().not_after(),
        );
        assert_eq!(end.since(begin), life);
        let edge = begin.plus(life.mul_f64(0.7));
        assert_eq!(
            fault(pair.certificate(), &ca, &wanted, edge.minus(DAY)),
            None
        );
        assert_eq!(
            fault(pair.certificate(), &ca, &wanted, edge.plus(DAY)),
            Some(Fault::Ending)
        );
        assert_eq!(
            fault(pair.certificate(), &ca, &wanted, end.plus(DAY)),
            Some(Fault::Ending)
        );

        let later = make(&issuer, &wanted, recorded_at().plus(100 * DAY)).unwrap();
        assert_eq!(
            fault(later.certificate(), &ca, &wanted, recorded_at()),
            Some(Fault::Early)
        );
        let unset = Timestamp::from_unix(0);
        assert_eq!(
            fault(pair.certificate(), &ca, &wanted, unset),
            None,
            "a clock that stands in 1970"
        );

        let (other, _) = new_ca(recorded_at()).unwrap();
        assert_eq!(
            fault(pair.certificate(), &other, &wanted, recorded_at()),
            Some(Fault::Foreign)
        );
        let subject = crate::pki::certificate::Subject::default();
        let client = issuer
            .client(pair.key().spki(), &subject, begin, end)
            .unwrap();
        assert_eq!(
            fault(&client, &ca, &wanted, recorded_at()),
            Some(Fault::Foreign)
        );
    }

    #[test]
    fn a_pair_of_the_go_side_is_good_when_it_covers_what_is_wanted() {
        let ca = Certificate::from_der(&recorded("token-ca/ca.der")).unwrap();
        let certificate = Certificate::from_der(&recorded("token-ca/cloudcore.der")).unwrap();
        let covered = certificate
            .ip_addresses()
            .iter()
            .map(IpAddr::to_string)
            .collect::<Vec<_>>();
        assert!(!covered.is_empty());
        assert_eq!(
            fault(&certificate, &ca, &Names::new(&covered, &[]), recorded_at()),
            None
        );
        let wanted = Names::new(&texts(&["203.0.113.200"]), &[]);
        let fault = fault(&certificate, &ca, &wanted, recorded_at());
        assert!(matches!(fault, Some(Fault::Missing(_))));
    }

    #[test]
    fn the_pair_is_kept_renewed_and_extended_while_the_ca_stays() {
        let cloud = Cloud::new(|options| options.advertised = texts(&["192.0.2.1"]));
        let first = cloud.authority.serving_certificate();
        assert!(first.ip_addresses().contains(&IpAddr::from([192, 0, 2, 1])));
        assert!(!smol::block_on(cloud.authority.refresh_serving()).unwrap());

        let cloud = cloud.restarted(|options| options.advertised = texts(&["192.0.2.1"]));
        assert_eq!(cloud.authority.serving_certificate(), first);

        let names = texts(&["later.example", "192.0.2.7"]);
        assert!(smol::block_on(cloud.authority.add_names(&names)).unwrap());
        let second = cloud.authority.serving_certificate();
        assert!(second.dns_names().contains(&"later.example".to_owned()));
        assert_ne!(second, first);

        cloud.hand.advance(300 * DAY);
        assert!(smol::block_on(cloud.authority.refresh_serving()).unwrap());
        let third = cloud.authority.serving_certificate();
        assert!(third.not_after() > second.not_after());
        assert!(third.dns_names().contains(&"later.example".to_owned()));
        let ca = cloud.authority.ca();
        let cloud = cloud.restarted(|_| ());
        assert_eq!(cloud.authority.serving_certificate(), third);
        assert_eq!(cloud.authority.ca(), ca);
    }
}
