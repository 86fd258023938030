//! Capabilities, and the promise never to get any by starting another program.

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets};

use super::Confinement;
use crate::system::{facts, limits};

/// Gives up every capability; with `interfaces`, all but the one that ties a socket to an
/// interface, which kernels before 5.7 ask for.
pub fn drop_all(interfaces: bool) -> io::Result<()> {
    let _ = rustix::thread::set_keep_capabilities(false);
    keep(kept_for(interfaces))
}

fn kept_for(interfaces: bool) -> CapabilitySet {
    match interfaces {
        true => CapabilitySet::NET_RAW,
        false => CapabilitySet::empty(),
    }
}

/// The next change of the user leaves the capabilities, until they are dropped.
pub fn survive_a_change_of_user() {
    let _ = rustix::thread::set_keep_capabilities(true);
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
/// as that user, and to end it. What it can't give up it does not use.
pub fn limit_to_supervision() -> Confinement {
    let mut done = Confinement::default();
    let kept = kept_for(facts::kernel_is_before(5, 7))
        | CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::KILL
        | CapabilitySet::SETGID
        | CapabilitySet::SETUID
        | CapabilitySet::SETPCAP;
    bound(kept);
    done.note("no capabilities but those of a supervisor", keep(kept));
    done.note("no new privileges", no_new_privileges());
    limits::no_core_dumps();
    done
}

fn keep(kept: CapabilitySet) -> io::Result<()> {
    let present = rustix::thread::capabilities(None)?;
    // Kernels before 4.3 have none.
    let _ = rustix::thread::clear_ambient_capability_set();
    let left = CapabilitySets {
        // A change of the user has emptied it.
        effective: present.permitted & kept,
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
