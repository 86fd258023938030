//! The cloud side as objects of a cluster: templates, the values that fill them, what comes out.

pub mod bundle;
pub mod error;
pub mod given;
pub mod plan;
pub mod profile;
pub mod reader;
pub mod render;
pub mod rendered;
pub mod set;
pub mod stream;
pub mod tree;
pub mod values;
mod workload;

pub use error::ChartError;

/// The release, and the chart that it is of, as KubeEdge's own keadm names them.
pub const RELEASE: &str = "cloudcore";
/// Where all of it is.
pub const NAMESPACE: &str = "kubeedge";
