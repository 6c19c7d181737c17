//! The filter of system calls (seccomp) that holds for everything in the sandbox.
//!
//! The namespaces already leave nothing to reach; this takes away the calls with which sandboxes are broken out of,
//! by ways that nobody knows yet, and those whose use could not be counted.
//! What is refused answers `EPERM`. Calls that this list is too old to know, and `clone3`, whose flags no filter can read,
//! answer `ENOSYS`, as on an older system: the C library then does without.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};

/// The newest call that was looked at: `removexattrat`, of Linux 6.13. On x86-64 this also refuses all of the x32 interface.
const NEWEST: u32 = 466;

/// `clone` flags that make namespaces; all of `CLONE_NEW*`.
const NAMESPACES: [i32; 8] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    // `CLONE_NEWTIME`, which `clone` itself takes for a signal's number.
    0x80,
];

/// Refused whatever the arguments.
const REFUSED: &[libc::c_long] = &[
    // Sockets. There is no network to be reached; what is left is what the kernel itself would offer.
    libc::SYS_socket,
    // With these an open file could be hidden in a socket, where nobody counts it.
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    // Space on the disk faster than anybody looks.
    libc::SYS_fallocate,
    // Memory and files that nobody counts.
    libc::SYS_memfd_create,
    libc::SYS_memfd_secret,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    // Mounts and namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    // Other processes' insides.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_process_mrelease,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Files by another name than their path.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // Parts of the kernel with a history.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_fanotify_init,
    libc::SYS_personality,
    // The machine itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
];

/// Refused too, where they exist.
#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[libc::c_long] = &[
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
    libc::SYS_kexec_file_load,
    libc::SYS_ustat,
    libc::SYS_sysfs,
    libc::SYS_uselib,
    libc::SYS__sysctl,
];
#[cfg(not(target_arch = "x86_64"))]
const REFUSED_HERE: &[libc::c_long] = &[];

/// The filter, as bubblewrap takes it: `struct sock_filter`s in this machine's byte order.
///
/// Errors: this machine's architecture is none that filters can be made for.
pub(super) fn program() -> Result<Vec<u8>, String> {
    let arch = std::env::consts::ARCH
        .try_into()
        .map_err(|error: seccompiler::BackendError| error.to_string())?;
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = rules()
        .and_then(|rules| SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch))
        .and_then(BpfProgram::try_from)
        .map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    for step in unknown_calls().iter().chain(&filter) {
        bytes.extend(step.code.to_ne_bytes());
        bytes.extend([step.jt, step.jf]);
        bytes.extend(step.k.to_ne_bytes());
    }
    Ok(bytes)
}

fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let whole = REFUSED.iter().chain(REFUSED_HERE);
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        whole.map(|call| (*call, Vec::new())).collect();
    let mut refuse_if = |call: libc::c_long, argument: u8, op: SeccompCmpOp, value: i32| {
        let value = u64::from(value.unsigned_abs());
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value)?;
        let rule = SeccompRule::new(vec![condition])?;
        rules.entry(call).or_default().push(rule);
        Ok::<_, seccompiler::BackendError>(())
    };
    for flag in NAMESPACES {
        let mask = u64::from(flag.unsigned_abs());
        refuse_if(libc::SYS_clone, 0, SeccompCmpOp::MaskedEq(mask), flag)?;
    }
    // A pair of sockets talks to nobody but itself; programs use one in the place of a pipe.
    refuse_if(libc::SYS_socketpair, 0, SeccompCmpOp::Ne, libc::AF_UNIX)?;
    // Typing into a terminal that somebody else reads.
    for request in [0x5412 /* TIOCSTI */, 0x541C /* TIOCLINUX */] {
        refuse_if(libc::SYS_ioctl, 1, SeccompCmpOp::Eq, request)?;
    }
    Ok(rules)
}

/// What goes before the list: calls beyond [`NEWEST`], and `clone3`, are not there.
fn unknown_calls() -> [sock_filter; 4] {
    const LOAD_NUMBER: u16 = 0x20;
    const JUMP_IF_GREATER: u16 = 0x25;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const RETURN_ERRNO: u32 = 0x0005_0000;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    [
        step(LOAD_NUMBER, 0, 0, 0),
        step(JUMP_IF_GREATER, 1, 0, NEWEST),
        step(JUMP_IF_EQUAL, 0, 1, 435 /* clone3, everywhere */),
        step(RETURN, 0, 0, RETURN_ERRNO | libc::ENOSYS.unsigned_abs()),
    ]
}
