//! What is to be deployed: values as given, values in full, and the objects that come of them.

use serde_json::Value;

use super::bundle::Bundle;
use super::given::Given;
use super::rendered::Rendered;
use super::values::Values;
use super::{ChartError, render};
use crate::system::host::Host;

pub struct Plan {
    pub bundle: Bundle,
    /// The values of the chart, before anything was given.
    pub defaults: Value,
    /// What was given, by the operator now or earlier.
    pub config: Value,
    pub values: Values,
    pub rendered: Rendered,
    /// What the operator should hear.
    pub warnings: Vec<String>,
}

impl Plan {
    /// `earlier` is what was given when the release was made; an empty mapping for a new one.
    pub fn make(host: &Host, given: &Given, earlier: Value) -> Result<Plan, ChartError> {
        let bundle = Bundle::open()?;
        let defaults = bundle.read("values.yaml")?;
        let config = given.read(host, earlier)?;
        let mut warnings = given.check(&defaults, &config)?;
        let all = Values::tree(&defaults, &bundle.read("values-rust.yaml")?, &config)?;
        let values = Values::read(&all)?;
        let hub = &values.hub;
        if hub.advertise_address.is_empty() && hub.dns_names.is_empty() {
            warnings.push(NO_NAME.to_owned());
        }
        Ok(Plan {
            rendered: render::render(&bundle, &values)?,
            bundle,
            defaults,
            config,
            values,
            warnings,
        })
    }
}

const NO_NAME: &str = "devices will not find their cloud in its certificate: give the addresses that they dial with \
                       --advertise-address";
