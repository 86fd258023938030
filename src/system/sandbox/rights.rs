//! Capabilities, and the promise never to get any by starting another program.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

/// Gives up every capability.
pub fn drop_all() -> io::Result<()> {
    keep(CapabilitySet::empty())
}

/// Leaves nothing that a program started from now on could get.
pub fn close_the_way_back() {
    bound(CapabilitySet::empty());
}

/// A program that is started from now on gets no more rights than we have.
pub fn no_new_privileges() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

/// Leaves a supervisor what it needs: to hand files over to the user of its child, to start it
/// as that user, and to end it. Best effort: what it can't give up it does not use.
pub fn limit_to_supervision() {
    let kept = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::KILL
        | CapabilitySet::SETGID
        | CapabilitySet::SETUID
        | CapabilitySet::SETPCAP;
    bound(kept);
    let _ = keep(kept);
    let _ = no_new_privileges();
    super::limits::no_core_dumps();
}

fn keep(kept: CapabilitySet) -> io::Result<()> {
    let present = rustix::thread::capabilities(None)?;
    // Kernels before 4.3 have none.
    let _ = rustix::thread::clear_ambient_capability_set();
    let left = CapabilitySets {
        effective: present.effective & kept,
        permitted: present.permitted & kept,
        inheritable: CapabilitySet::empty(),
    };
    Ok(rustix::thread::set_capabilities(None, left)?)
}

/// Needs a capability of its own; without that one there is nothing in our reach anyway.
fn bound(kept: CapabilitySet) {
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if kept.contains(one) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // Not ours to remove, or the kernel knows no more of them.
            Err(_) => return,
        }
    }
}
