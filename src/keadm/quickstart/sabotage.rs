//! Breaks a step on purpose, for the test that sees each fault noticed and named.

use super::step::Step;
use super::tour::{Fault, Tour};
use crate::keadm::device::Device;
use crate::pki::MAX_INPUT;
use crate::system::processes;

impl Tour {
    /// Breaks what the step is about, when this step is to be broken.
    pub(super) fn strike(&mut self, step: Step) -> Result<(), Fault> {
        if self.sabotage != Some(step) {
            return Ok(());
        }
        let files = self.cloud.host.files.clone();
        match step {
            // Where it starts, it is killed right there.
            Step::Cloud => {}
            Step::Token => {
                let path = self.token_file();
                let mut token = files.read(&path, MAX_INPUT)?;
                // In the middle of the signature, where every bit counts.
                if let Some(byte) = token.iter_mut().rev().nth(20) {
                    *byte = if *byte == b'A' { b'B' } else { b'A' };
                }
                files.replace(&path, &token, 0o600)?;
            }
            Step::Join | Step::Rotation => {
                if let Some(cloudcore) = &mut self.cloudcore {
                    cloudcore.kill();
                }
            }
            Step::Certificate => {
                let device = Device::read(&self.edge.host, None)?;
                let ca = files.read(&device.ca, MAX_INPUT)?;
                files.replace(&device.certificate, &ca, 0o644)?;
            }
            Step::Session | Step::Node | Step::Status => {
                if let Some(process) = &self.edgecore {
                    processes::terminate(process, std::time::Duration::ZERO)?;
                }
            }
            Step::Stop => {
                let pid_file = self.edge.host.root.at("/run/kubeedge/edgecore.pid");
                files.remove(&pid_file)?;
            }
        }
        Ok(())
    }
}
