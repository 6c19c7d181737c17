//! The filter of system calls (seccomp) that holds for everything in the sandbox.
//!
//! The namespaces already leave nothing to reach; this takes away the calls with which sandboxes are broken out of,
//! by ways that nobody knows yet, and those whose use could not be counted.
//! What is refused answers `EPERM`. Calls that this list is too old to know, and those whose flags no filter can read,
//! answer `ENOSYS`, as on an older system: the C library then does without. So do some others ([`ANSWERED`]).

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, sock_filter,
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
    // Sockets. There is no network to be reached; what is left is what the kernel itself would offer,
    // and sockets in the paths of a profile, which half of a pair could speak to.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    // Larger buffers than are counted, and programs for the kernel's filter of packets.
    libc::SYS_setsockopt,
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
    libc::SYS_io_setup,
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

/// Refused with another answer than `EPERM`: one that makes programs go another way.
const ANSWERED: &[(libc::c_long, i32)] = &[
    // Their arguments are in memory, where no filter looks.
    (libc::SYS_clone3, libc::ENOSYS),
    (libc::SYS_openat2, libc::ENOSYS),
    // Rules without number, in memory that nobody counts.
    (libc::SYS_landlock_create_ruleset, libc::ENOSYS),
    // A page in a pipe keeps the large page alive that it was a part of, and nobody counts either. Programs then copy.
    (libc::SYS_splice, libc::EINVAL),
    (libc::SYS_vmsplice, libc::EINVAL),
    (libc::SYS_tee, libc::EINVAL),
    (libc::SYS_sendfile, libc::EINVAL),
];

/// `ioctl`s that are refused.
const REFUSED_REQUESTS: [u64; 5] = [
    // Typing into a terminal that somebody else reads.
    0x5412, /* TIOCSTI */
    0x541C, /* TIOCLINUX */
    // What `fallocate` does.
    0x4030_5828, /* FS_IOC_RESVSP */
    0x4030_582a, /* FS_IOC_RESVSP64 */
    0x4030_5839, /* FS_IOC_ZERO_RANGE */
];

/// Calls that give a file a mode, and which argument it is.
const WITH_MODE: &[(libc::c_long, u8)] = &[
    (libc::SYS_fchmod, 1),
    (libc::SYS_fchmodat, 2),
    (452 /* fchmodat2, everywhere */, 2),
    (libc::SYS_mknodat, 2),
];

/// Calls that open a file and may make one, and which argument tells; the mode is the next.
const OPENING: &[(libc::c_long, u8)] = &[(libc::SYS_openat, 2)];

#[cfg(target_arch = "x86_64")]
const WITH_MODE_HERE: &[(libc::c_long, u8)] = &[
    (libc::SYS_chmod, 1),
    (libc::SYS_mknod, 1),
    (libc::SYS_creat, 1),
];
#[cfg(not(target_arch = "x86_64"))]
const WITH_MODE_HERE: &[(libc::c_long, u8)] = &[];

#[cfg(target_arch = "x86_64")]
const OPENING_HERE: &[(libc::c_long, u8)] = &[(libc::SYS_open, 1)];
#[cfg(not(target_arch = "x86_64"))]
const OPENING_HERE: &[(libc::c_long, u8)] = &[];

/// The filter, as bubblewrap takes it: `struct sock_filter`s in this machine's byte order.
///
/// Errors: this machine's architecture is none that filters can be made for.
pub(super) fn program() -> Result<Vec<u8>, String> {
    let arch = std::env::consts::ARCH
        .try_into()
        .map_err(|error: BackendError| error.to_string())?;
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = rules()
        .and_then(|rules| SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch))
        .and_then(BpfProgram::try_from)
        .map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    for step in answered_at_once().iter().chain(&filter) {
        bytes.extend(step.code.to_ne_bytes());
        bytes.extend([step.jt, step.jf]);
        bytes.extend(step.k.to_ne_bytes());
    }
    Ok(bytes)
}

fn rules() -> Result<Rules, BackendError> {
    let whole = REFUSED.iter().chain(REFUSED_HERE);
    let mut rules: Rules = whole.map(|call| (*call, Vec::new())).collect();
    let mut refuse_if = |call: libc::c_long, conditions: &[Condition]| {
        let conditions = conditions.iter().map(Condition::compiled);
        let rule = SeccompRule::new(conditions.collect::<Result<_, _>>()?)?;
        rules.entry(call).or_default().push(rule);
        Ok::<_, BackendError>(())
    };
    for flag in NAMESPACES {
        refuse_if(libc::SYS_clone, &[Condition::has(0, flag)])?;
    }
    // A pair of sockets talks to nobody but itself; programs use one in the place of a pipe.
    let is_other = Condition(0, SeccompCmpOp::Ne, number(libc::AF_UNIX));
    refuse_if(libc::SYS_socketpair, &[is_other])?;
    refuse_if(
        libc::SYS_sendto,
        &[Condition(4, SeccompCmpOp::Ne, 0 /* an address */)],
    )?;
    // By this one a sandbox was broken out of.
    refuse_if(libc::SYS_sendto, &[Condition::has(3, libc::MSG_OOB)])?;
    for request in REFUSED_REQUESTS {
        let is_that = Condition(1, SeccompCmpOp::Eq, request);
        refuse_if(libc::SYS_ioctl, &[is_that])?;
    }
    // A thread with open files of its own, which are not where those of its process are looked for.
    let flags = number(libc::CLONE_THREAD | libc::CLONE_FILES);
    let parts = SeccompCmpOp::MaskedEq(flags);
    let parts = Condition(0, parts, number(libc::CLONE_THREAD));
    refuse_if(libc::SYS_clone, &[parts])?;
    refuse_if(
        libc::SYS_close_range,
        &[Condition::has(2, 2 /* CLOSE_RANGE_UNSHARE */)],
    )?;
    // Shared memory that is in no file stays when it is given back, and nobody then has it.
    let nameless = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    refuse_if(libc::SYS_mmap, &[Condition::has(3, nameless)])?;
    // Memory that the system takes for a stack, and not for the data that it limits.
    refuse_if(libc::SYS_mmap, &[Condition::has(3, libc::MAP_GROWSDOWN)])?;
    // Pipes larger than they are counted.
    let resizes = Condition(1, SeccompCmpOp::Eq, number(libc::F_SETPIPE_SZ));
    refuse_if(libc::SYS_fcntl, &[resizes])?;
    // Files that make somebody of whoever executes them; by `open` only where it makes a file.
    for bit in [0o4000, 0o2000] {
        for (call, argument) in WITH_MODE.iter().chain(WITH_MODE_HERE) {
            refuse_if(*call, &[Condition::has(*argument, bit)])?;
        }
        for (call, flags) in OPENING.iter().chain(OPENING_HERE) {
            for makes in [libc::O_CREAT, libc::O_TMPFILE] {
                let conditions = [
                    Condition::has(*flags, makes),
                    Condition::has(flags + 1, bit),
                ];
                refuse_if(*call, &conditions)?;
            }
        }
    }
    Ok(rules)
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// About one argument of a call: which, how it is compared, and with what.
struct Condition(u8, SeccompCmpOp, u64);

impl Condition {
    /// Whether all bits of `bits` are set.
    fn has(argument: u8, bits: i32) -> Self {
        let bits = number(bits);
        Self(argument, SeccompCmpOp::MaskedEq(bits), bits)
    }

    fn compiled(&self) -> Result<SeccompCondition, BackendError> {
        let Self(argument, op, value) = self;
        // Of an address the upper half counts, too; of all else the system itself sees only the lower.
        let length = if *value == 0 {
            SeccompCmpArgLen::Qword
        } else {
            SeccompCmpArgLen::Dword
        };
        SeccompCondition::new(*argument, length, op.clone(), *value)
    }
}

fn number(bits: i32) -> u64 {
    u64::from(bits.unsigned_abs())
}

/// What goes before the list: calls beyond [`NEWEST`] are not there, and neither are those of [`ANSWERED`].
fn answered_at_once() -> Vec<sock_filter> {
    const LOAD_NUMBER: u16 = 0x20;
    const JUMP_IF_GREATER: u16 = 0x25;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const RETURN_ERRNO: u32 = 0x0005_0000;
    let step = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let answer = |errno: i32| step(RETURN, 0, 0, RETURN_ERRNO | errno.unsigned_abs());
    let mut steps = vec![
        step(LOAD_NUMBER, 0, 0, 0),
        step(JUMP_IF_GREATER, 0, 1, NEWEST),
        answer(libc::ENOSYS),
    ];
    for (call, errno) in ANSWERED {
        let call = u32::try_from(*call).unwrap_or(u32::MAX);
        steps.extend([step(JUMP_IF_EQUAL, 0, 1, call), answer(*errno)]);
    }
    steps
}
