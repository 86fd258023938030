//! KubeEdge for small devices: the floors of the house, the upper ones first.
#![forbid(unsafe_code)]

pub mod applet;

// Top floor: the roles; they never import each other.
#[cfg(feature = "cloud")]
pub mod cloudcore;
#[cfg(feature = "edge")]
pub mod edgecore;
pub mod keadm;

// Middle floor: what two roles share.
#[cfg(feature = "cloud")]
pub mod authority;
pub mod config;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod protocol;
#[cfg(feature = "oci")]
pub mod registry;
#[cfg(feature = "cloud")]
pub mod store;
#[cfg(feature = "edge")]
pub mod trial;
pub mod tunnel;

// Ground floor: no knowledge of KubeEdge.
pub mod pki;
pub mod system;
