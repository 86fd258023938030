//! Seccomp: system calls that no daemon of ours makes, denied with EPERM.
//!
//! A list of what is denied, not of what is allowed: the C libraries of seven architectures make
//! different calls, and differ again with the next release. What is here is what attacks on a
//! kernel or on other processes begin with.

use nix::libc;
use seccompiler::{apply_filter, sock_filter};

/// For this thread and every later one.
pub fn install() -> Result<(), String> {
    let program = program().ok_or("unknown architecture")?;
    apply_filter(&program).map_err(|error| error.to_string())
}

/// The filter: another architecture's calls are all denied, then one comparison a call.
fn program() -> Option<Vec<sock_filter>> {
    let mut program = vec![
        load(OFFSET_ARCHITECTURE),
        when_equal(architecture()?, 1, 0),
        deny(),
        load(OFFSET_NUMBER),
    ];
    if cfg!(target_arch = "x86_64") {
        // The numbers of x32 are none of ours.
        program.extend([when_at_least(X32, 0, 1), deny()]);
    }
    for number in denied() {
        program.extend([when_equal(number, 0, 1), deny()]);
    }
    let families = [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
    ];
    program.push(when_equal(libc::SYS_socket as u32, 1, 0));
    program.push(allow());
    program.push(load(OFFSET_FIRST_ARGUMENT));
    for family in families {
        program.extend([when_equal(family as u32, 0, 1), allow()]);
    }
    program.push(deny());
    Some(program)
}

/// From now on no right can be given up.
#[cfg(test)]
pub fn deny_a_change_of_capabilities() -> Result<(), String> {
    let program = [
        load(OFFSET_NUMBER),
        when_equal(libc::SYS_capset as u32, 0, 1),
        deny(),
        allow(),
    ];
    apply_filter(&program).map_err(|error| error.to_string())
}

fn denied() -> impl Iterator<Item = u32> {
    DENIED.iter().map(|number| *number as u32)
}

fn load(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset)
}

fn when_equal(value: u32, then: u8, otherwise: u8) -> sock_filter {
    let code = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    instruction(code, then, otherwise, value)
}

fn when_at_least(value: u32, then: u8, otherwise: u8) -> sock_filter {
    let code = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    instruction(code, then, otherwise, value)
}

fn deny() -> sock_filter {
    let answer = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    instruction(libc::BPF_RET | libc::BPF_K, 0, 0, answer)
}

fn allow() -> sock_filter {
    let code = libc::BPF_RET | libc::BPF_K;
    instruction(code, 0, 0, libc::SECCOMP_RET_ALLOW)
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    let code = code as u16;
    sock_filter { code, jt, jf, k }
}

/// What the kernel calls the architecture that we are compiled for: the machine of ELF, with a
/// bit each for 64 bits and little-endian.
fn architecture() -> Option<u32> {
    let machine = match std::env::consts::ARCH {
        "x86_64" => 62,
        "aarch64" => 183,
        "arm" => 40,
        "riscv64" => 243,
        "mips" => 8,
        _ => return None,
    };
    let wide = if cfg!(target_pointer_width = "64") {
        1 << 31
    } else {
        0
    };
    let little = if cfg!(target_endian = "little") {
        1 << 30
    } else {
        0
    };
    Some(machine | wide | little)
}

/// Of `struct seccomp_data`.
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCHITECTURE: u32 = 4;
/// The lower half of 64 bits.
const OFFSET_FIRST_ARGUMENT: u32 = if cfg!(target_endian = "little") {
    16
} else {
    20
};
const X32: u32 = 0x4000_0000;

const DENIED: &[libc::c_long] = &[
    // Other programs and processes.
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Every listener is there by now.
    libc::SYS_listen,
    // Mounts, roots and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_mknodat,
    // The kernel itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_fanotify_init,
    libc::SYS_syslog,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // The machine.
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_vhangup,
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel does, on what it would be given.
    fn answer(architecture: u32, number: u32, first_argument: u32) -> u32 {
        let program = program().unwrap();
        let (mut at, mut value) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at].clone();
            let code = u32::from(code);
            at += 1;
            let jump = |holds: bool| usize::from(if holds { jt } else { jf });
            if code == libc::BPF_RET | libc::BPF_K {
                return k;
            } else if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS {
                value = match k {
                    OFFSET_NUMBER => number,
                    OFFSET_ARCHITECTURE => architecture,
                    OFFSET_FIRST_ARGUMENT => first_argument,
                    other => panic!("offset {other}"),
                };
            } else if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K {
                at += jump(value == k);
            } else if code == libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K {
                at += jump(value >= k);
            } else {
                panic!("instruction {code}");
            }
        }
    }

    #[test]
    fn denies_what_is_listed_and_nothing_else() {
        let ours = architecture().unwrap();
        let denied = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
        let listed: Vec<u32> = super::denied().collect();
        for number in 0..600 {
            let expected = match listed.contains(&number) || number == libc::SYS_socket as u32 {
                true => denied,
                false => libc::SECCOMP_RET_ALLOW,
            };
            assert_eq!(answer(ours, number, 99), expected, "{number}");
            assert_eq!(answer(ours ^ 1, number, 0), denied, "{number}");
        }
        for family in [
            libc::AF_UNIX,
            libc::AF_INET,
            libc::AF_INET6,
            libc::AF_NETLINK,
        ] {
            let answer = answer(ours, libc::SYS_socket as u32, family as u32);
            assert_eq!(answer, libc::SECCOMP_RET_ALLOW);
        }
        if cfg!(target_arch = "x86_64") {
            assert_eq!(answer(ours, X32 + 1, 0), denied);
        }
    }
}
