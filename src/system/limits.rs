//! What the kernel allows this process.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the number of files and sockets that may be open to the most that is allowed, and
/// returns it. The usual 1024 is there for programs that use select(2), which we don't.
pub fn raise_open_files() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return USUAL;
    };
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// What may be counted on where the system does not tell.
const USUAL: u64 = 1024;
/// No image of the memory, keys and all, is ever written to a disk.
pub fn no_core_dumps() {
    // To lower a limit is always allowed.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_what_is_allowed() {
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        // One less, so that other tests have what they need meanwhile.
        setrlimit(Resource::RLIMIT_NOFILE, hard - 1, hard).unwrap();
        let raised = raise_open_files();
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!((soft, raised), (hard, hard));
    }
}
