//! What a command in the sandbox can and cannot do: real attempts, most of which work outside of it.
//!
//! Linux with bubblewrap is needed (`scripts/setup` installs it); without it these tests fail, and say so.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    net::{TcpListener, UdpSocket},
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            fs::PermissionsExt as _,
            net::{SocketAddr, UnixListener},
        },
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use gatewright_policy::{EscalatedProfile, PolicyDocument};
use gatewright_schemas::{RunId, WorkspaceId};
use gatewright_worker::sandbox::{
    Captured, Cut, Ended, Limits, Order, Program, Sandbox, Settings, Unavailable,
};
use tempfile::TempDir;

pub(crate) const MIB: u64 = 1024 * 1024;

/// A sandbox with a folder of its own, and a folder beside it that is none of its business.
pub(crate) struct Place {
    pub(crate) folder: TempDir,
    pub(crate) sandbox: Sandbox,
}

impl Place {
    pub(crate) fn new() -> Self {
        // Commands run as nobody where the tests run as root, so they must be able to get to their directories.
        let folder = open_folder();
        let settings = Settings {
            dir: Some(folder.path().join("sandbox")),
            ..Settings::default()
        };
        Self {
            sandbox: Sandbox::new(settings),
            folder,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Where the runs' directories are, as the worker sees them.
    pub(crate) fn runs(&self) -> Vec<PathBuf> {
        let instances = fs::read_dir(self.path("sandbox")).unwrap();
        instances
            .map(|instance| instance.unwrap().path().join("runs/acme"))
            .collect()
    }

    pub(crate) async fn run(&self, order: Order) -> Ended {
        match self.sandbox.run(order).await {
            Ok(ended) => ended,
            Err(Unavailable { reason, remedy }) => panic!("{reason}; {remedy}"),
        }
    }

    pub(crate) async fn sh(&self, script: &str) -> Ended {
        self.run(sh(script)).await
    }
}

pub(crate) fn open_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).unwrap();
    folder
}

pub(crate) fn order(argv: &[&str]) -> Order {
    Order {
        workspace: WorkspaceId::new("acme").unwrap(),
        run: RunId::new("r1").unwrap(),
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        stdin: Vec::new(),
        env: Vec::new(),
        programs: Vec::new(),
        profile: None,
        limits: Limits::default(),
    }
}

pub(crate) fn sh(script: &str) -> Order {
    order(&["sh", "-c", script])
}

pub(crate) fn within(order: Order, limits: Limits) -> Order {
    Order { limits, ..order }
}

pub(crate) fn text(captured: &Captured) -> String {
    captured.text().trim_end().to_owned()
}

/// The processes of this machine with `marker` among their arguments.
pub(crate) fn processes_with(marker: &str) -> Vec<String> {
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let line = fs::read_to_string(path.join("cmdline")).ok()?;
            line.contains(marker)
                .then(|| format!("{}: {}", path.display(), line.replace('\0', " ")))
        })
        .collect()
}

/// Waits until no process has `marker` among its arguments.
pub(crate) async fn all_gone(marker: &str) {
    let began = Instant::now();
    loop {
        let left = processes_with(marker);
        if left.is_empty() {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{left:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A text that no other process has among its arguments: a number of seconds that `sleep` takes.
pub(crate) fn marker() -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("600.{:07}{number:03}", std::process::id())
}

#[tokio::test]
async fn a_command_runs_in_its_own_directory_with_nothing_but_the_system() {
    let place = Place::new();
    let told = place
        .sh("pwd; id -u; id -g; whoami; env | sort; ls /; hostname; cat; echo oops >&2; exit 7")
        .await;
    assert_eq!(told.exit_code, Some(7), "{told:?}");
    assert_eq!((told.cut.clone(), told.signal()), (None, None));
    let expected = "/work\n1000\n1000\nsandbox\nHOME=/work\nLANG=C.UTF-8\nPATH=/usr/local/bin:/usr/bin:/bin\nPWD=/work\nTMPDIR=/tmp\n";
    let out = text(&told.stdout);
    assert!(out.starts_with(expected), "{out}");
    let root: Vec<&str> = out.strip_prefix(expected).unwrap().lines().collect();
    let known = "bin dev etc lib lib32 lib64 libx32 proc sandbox sbin tmp usr work";
    assert!(
        root.iter()
            .all(|name| known.split(' ').any(|one| one == *name)),
        "{root:?}"
    );
    assert_eq!(text(&told.stderr), "oops");

    let asked = Order {
        stdin: b"said".to_vec(),
        env: vec![("GATEWRIGHT_RUN_ID", "r1".into())],
        ..sh("cat; echo $GATEWRIGHT_RUN_ID; kill -9 $$")
    };
    let told = place.run(asked).await;
    assert_eq!(text(&told.stdout), "saidr1");
    assert_eq!((told.exit_code, told.signal()), (Some(137), Some(9)));
    let missing = place.run(order(&["no-such-program", "--as=1"])).await;
    assert_eq!(missing.exit_code, Some(127), "{missing:?}");
}

#[tokio::test]
async fn words_are_passed_on_as_they_are() {
    let place = Place::new();
    let words = ["--", "-x", "$(id)", "a b", "", "*", "\n"];
    let argv = [&["printf", "<%s>"], &words[..]].concat();
    let told = place.run(order(&argv)).await;
    // The first `--` is printf's own.
    assert_eq!(told.stdout.text(), "<--><-x><$(id)><a b><><*><\n>");
}

#[tokio::test]
async fn a_directory_is_its_runs_own_and_gone_with_it() {
    let place = Place::new();
    let first = place.sh("echo kept > file; echo gone > /tmp/file").await;
    assert!(first.new_directory);
    let second = place.sh("cat file; cat /tmp/file").await;
    assert_eq!(text(&second.stdout), "kept");
    assert!(!second.new_directory && second.exit_code != Some(0));
    let other = Order {
        run: RunId::new("r2").unwrap(),
        ..sh("ls -A /work; ls -A /work/..")
    };
    let told = place.run(other).await;
    assert!(told.new_directory && !text(&told.stdout).contains("file"));

    let [runs] = &place.runs()[..] else { panic!() };
    let mode = fs::metadata(runs.join("r1")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    // Closed folders and a link to the outside do not keep it from going, and what is linked to stays.
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("mine"), "").unwrap();
    place
        .sh(&format!(
            "mkdir -p a/b; touch a/b/c; ln -s {} a/link; chmod 0 a/b a",
            outside.display()
        ))
        .await;
    let order = sh("");
    place.sandbox.forget(&order.workspace, &order.run).await;
    assert!(!runs.join("r1").exists() && runs.join("r2").exists());
    assert!(outside.join("mine").exists());
    assert!(place.sh("ls -A").await.new_directory);
    // A worker that ends leaves nothing, and one that was killed leaves it to the next.
    let killed = place.path("sandbox").join("1-0");
    fs::create_dir_all(killed.join("runs/acme/r9")).unwrap();
    fs::write(killed.join("lock"), "").unwrap();
    drop(place.sandbox);
    let settings = Settings {
        dir: Some(place.folder.path().join("sandbox")),
        ..Settings::default()
    };
    Sandbox::new(settings).check().await.unwrap();
    assert_eq!(
        fs::read_dir(place.folder.path().join("sandbox"))
            .unwrap()
            .count(),
        0
    );
}

/// Deeper than a stack or the descriptors of the worker would reach.
#[tokio::test(flavor = "multi_thread")]
async fn folders_nested_without_end_are_removed_all_the_same() {
    let place = Place::new();
    let nested = r#"for (1..15000) { mkdir "d"; chdir "d" or last }"#;
    place.run(order(&["/usr/bin/perl", "-e", nested])).await;
    let [runs] = &place.runs()[..] else { panic!() };
    let order = sh("");
    place.sandbox.forget(&order.workspace, &order.run).await;
    assert!(!runs.join("r1").exists());
}

/// A way out that somebody might try.
struct Escape {
    name: &'static str,
    /// A script for `sh`, which succeeds when the escape does.
    script: String,
    /// Whether it succeeds outside of the sandbox, whoever runs the tests.
    works_outside: bool,
}

fn escapes(place: &Place) -> Vec<Escape> {
    let secret = place.path("secret");
    fs::write(&secret, "s3cr3t").unwrap();
    let open = place.path("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777)).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let (secret, open) = (secret.display(), open.display());
    let pid = std::process::id();
    let real = |name, script: String| Escape {
        name,
        script,
        works_outside: true,
    };
    // Needs rights that whoever runs the tests may not have.
    let bold = |name, script: &str| Escape {
        name,
        script: script.to_owned(),
        works_outside: false,
    };
    vec![
        real("reading a file of the host", format!("cat {secret}")),
        real(
            "reading the host's accounts",
            "grep -q ^root: /etc/passwd".into(),
        ),
        bold("reading the host's passwords", "cat /etc/shadow"),
        bold("reading root's home", "ls /root"),
        real("reading /var", "ls /var/lib".into()),
        bold("reading /run", "ls /run"),
        real("reading /sys", "ls /sys/class".into()),
        real("writing a file of the host", format!("echo x > {open}/a")),
        bold("writing to the system", "touch /usr/bin/x"),
        bold("writing to the root", "touch /x"),
        bold("writing to /etc", "touch /etc/x"),
        bold("writing to /dev", "touch /dev/x"),
        bold("writing to /proc/sys", "echo x > /proc/sys/kernel/hostname"),
        real(
            "a link out of the directory",
            format!("ln -s {secret} l && cat l"),
        ),
        real(
            "a link to write through",
            format!("ln -s {open}/b l2 && echo x > l2"),
        ),
        real(
            "a hard link out of the directory",
            format!("cd {open} && ln {secret} hard"),
        ),
        real(
            "up and out of the directory",
            "cd ../../../.. && ls var".into(),
        ),
        real("a process of the host", format!("test -d /proc/{pid}")),
        bold("another process's memory", &format!("cat /proc/{pid}/maps")),
        bold(
            "a signal to a process of the host",
            &format!("kill -0 {pid}"),
        ),
        bold(
            "another process's files, by way of its root",
            "ls /proc/1/root/home",
        ),
        bold(
            "the memory of process 1, which no limit holds",
            "perl -e 'open(my $m, \"+<\", \"/proc/1/mem\") or exit 1'",
        ),
        bold(
            "the same, by way of its thread",
            "perl -e 'open(my $m, \"+<\", \"/proc/1/task/1/mem\") or exit 1'",
        ),
        bold("another stack", "ulimit -s unlimited"),
        bold("a new namespace", "unshare --user true"),
        bold(
            "a new mount namespace",
            "unshare --mount --map-root-user true",
        ),
        bold("a mount", "mount -t tmpfs x /tmp"),
        bold("unmounting what hides something", "umount /proc"),
        bold("writable again", "mount -o remount,rw /usr"),
        bold("raising a hard limit", "ulimit -Hn 1000000"),
        bold(
            "raising it with a program",
            "prlimit --pid $$ --nproc=100000:100000",
        ),
        bold("another user", "perl -e '$> = 0; exit($> == 0 ? 0 : 1)'"),
        bold("another root", "perl -e 'exit(chroot(\"/usr\") ? 0 : 1)'"),
        bold("a device", "mknod /work/sda b 8 0"),
        bold("another clock", "date -s 2001-01-01"),
        bold("another host name", "hostname x"),
        real("a debugger's hold", TRACE_ME.into()),
        real("memory without a name", MEMFD.into()),
    ]
}

/// `PTRACE_TRACEME`, where this machine's number of it is known.
const TRACE_ME: &str = r"perl -e 'my %n = (x86_64 => 101, aarch64 => 117); my $m = `uname -m`; chomp $m; exit(syscall($n{$m}, 0, 0, 0, 0) == 0 ? 0 : 1)'";
const MEMFD: &str = r#"perl -e 'my %n = (x86_64 => 319, aarch64 => 279); my $m = `uname -m`; chomp $m; my $t = "x"; exit(syscall($n{$m}, $t, 0) >= 0 ? 0 : 1)'"#;

#[tokio::test]
async fn no_escape_succeeds() {
    let place = Place::new();
    let scratch = place.path("scratch");
    fs::create_dir(&scratch).unwrap();
    let mut wrong = Vec::new();
    for Escape {
        name,
        script,
        works_outside,
    } in escapes(&place)
    {
        if works_outside {
            let outside = tokio::process::Command::new("sh")
                .args(["-c", &script])
                .current_dir(&scratch)
                .output()
                .await
                .unwrap();
            if !outside.status.success() {
                wrong.push(format!("{name}: is no real attempt: {outside:?}"));
            }
        }
        let ended = place.sh(&script).await;
        if ended.exit_code == Some(0) || ended.exit_code == Some(127) || ended.cut.is_some() {
            wrong.push(format!("{name}: {ended:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let written: Vec<_> = fs::read_dir(place.path("open"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    // Only what the attempts outside left.
    assert_eq!(written.len(), 3, "{written:?}");
}

/// A supervisor's script may leave any descriptor open for the worker.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_worker_inherited_does_not_reach_a_command() {
    let place = Place::new();
    let host = fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&host, rustix::io::FdFlags::empty()).unwrap();
    let ended = place
        .sh("for fd in /proc/self/fd/*; do ls $fd/etc/debian_version; done 2>/dev/null; ls /proc/self/fd")
        .await;
    let told = text(&ended.stdout);
    assert!(!told.contains("debian_version"), "{told}");
    drop(host);
}

#[tokio::test]
async fn no_socket_reaches_anything() {
    let place = Place::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    udp.set_nonblocking(true).unwrap();
    let name = format!("gatewright-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let unix = UnixListener::bind_addr(&address).unwrap();
    let path = place.path("socket");
    let by_path = UnixListener::bind(&path).unwrap();
    let connect = |family: &str, kind: &str, to: String| {
        format!(
            "perl -MSocket -e 'socket(my $s, {family}, {kind}, 0) or exit 3; connect($s, {to}) or exit 4; send($s, \"x\", 0) or exit 5; exit 0'"
        )
    };
    let inet = |port: u16| format!("sockaddr_in({port}, inet_aton(\"127.0.0.1\"))");
    let attempts = [
        connect(
            "AF_INET",
            "SOCK_STREAM",
            inet(tcp.local_addr().unwrap().port()),
        ),
        connect(
            "AF_INET",
            "SOCK_DGRAM",
            inet(udp.local_addr().unwrap().port()),
        ),
        connect(
            "AF_UNIX",
            "SOCK_STREAM",
            format!("pack(\"S a*\", AF_UNIX, \"\\0{name}\")"),
        ),
        connect(
            "AF_UNIX",
            "SOCK_STREAM",
            format!("sockaddr_un(\"{}\")", path.display()),
        ),
        "perl -MSocket -e 'socket(my $s, AF_INET6, SOCK_STREAM, 0) or exit 3'".to_owned(),
        "perl -e 'socket(my $s, 16, 3, 0) or exit 3'".to_owned(),
    ];
    for script in &attempts {
        let outside = std::process::Command::new("sh")
            .args(["-c", script])
            .output()
            .unwrap();
        assert!(
            outside.status.success(),
            "is no real attempt: {script}: {outside:?}"
        );
        assert_eq!(udp.recv(&mut [0]).is_ok(), script.contains("DGRAM"));
        let ended = place.sh(script).await;
        assert_eq!(ended.exit_code, Some(3), "{script}: {ended:?}");
    }
    assert!(udp.recv(&mut [0]).is_err(), "a packet came through");
    drop((unix, by_path));
    // What programs use in the place of a pipe goes on working.
    let pair = "perl -MSocket -e 'socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, 0) or exit 1; syswrite($a, \"x\"); sysread($b, my $c, 1); print $c'";
    assert_eq!(text(&place.sh(pair).await.stdout), "x");
    let lonely = place.sh("cat /proc/net/dev | grep -c : ").await;
    assert_eq!(
        text(&lonely.stdout),
        "1",
        "the loopback of its own, and nothing else"
    );
}

#[tokio::test]
async fn nothing_is_left_of_a_command() {
    let place = Place::new();
    let (left, late, dropped) = (marker(), marker(), marker());
    // Ended by itself, with children in sessions of their own that hold its outputs.
    let daemon = format!("setsid sleep {left} & (setsid nohup sleep {left} &) ; exec sleep 0.05");
    let ended = place.sh(&daemon).await;
    assert_eq!(ended.exit_code, Some(0), "{ended:?}");
    assert_eq!(processes_with(&left), [""; 0]);

    // Out of time, and deaf.
    let deaf =
        format!("trap '' TERM INT HUP; setsid sleep {late} & while :; do sleep {late}; done");
    let limits = Limits {
        time: Duration::from_millis(400),
        ..Limits::default()
    };
    let ended = place.run(within(sh(&deaf), limits)).await;
    assert!(matches!(ended.cut, Some(Cut::Time { .. })), "{ended:?}");
    assert_eq!(ended.exit_code, None);
    assert_eq!(processes_with(&late), [""; 0]);

    // Nobody waits for it any more.
    let script = format!("sleep {dropped} & sleep {dropped}");
    let waiting = place.sh(&script);
    let began = async {
        while processes_with(&dropped).is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        ended = waiting => panic!("{ended:?}"),
        () = began => {}
    }
    all_gone(&dropped).await;
}

#[tokio::test]
async fn an_output_without_end_is_cut_and_counted() {
    let place = Place::new();
    let limits = Limits {
        output: 1000,
        ..Limits::default()
    };
    let order = within(
        sh("head -c 300000 /dev/zero; printf '\\377\\376' >&2; exit 0"),
        limits,
    );
    let ended = place.run(order).await;
    assert_eq!(
        (ended.stdout.bytes.len(), ended.stdout.total),
        (1000, 300_000)
    );
    assert!(ended.stdout.truncated && !ended.stderr.truncated);
    assert_eq!(ended.stderr.text(), "\u{fffd}\u{fffd}");
    assert_eq!(ended.exit_code, Some(0));
}

/// Scripts that take more than there is, each with what happens to it: it is killed, or told that there is no more.
fn greedy() -> Vec<(&'static str, &'static str, Option<&'static str>)> {
    let nameless = r#"perl -e 'for my $n (1..40) { open(my $f, "+>", "f$n") or exit 1; unlink "f$n"; push @f, $f; print $f "x" x (1 << 20); $f->flush } sleep 60' -MIO::Handle"#;
    let mapped = r#"perl -e 'my %n = (x86_64 => 9, aarch64 => 222); my $m = `uname -m`; chomp $m; for my $n (1..40) { open(my $f, "+>", "m$n") or exit 1; $f->autoflush(1); print $f "x" x (1 << 20); my $fd = fileno($f); syscall($n{$m}, 0, 4096, 1, 1, $fd + 0, 0) > 0 or exit 2; unlink "m$n"; close $f } sleep 60'"#;
    vec![
        (
            "one large file",
            "head -c 30000000 /dev/zero > big; sleep 60",
            Some("disk"),
        ),
        (
            "many large files",
            "for i in 1 2 3 4 5 6; do head -c 4000000 /dev/zero > $i; done; sleep 60",
            Some("disk"),
        ),
        (
            "in no time at all",
            "head -c 30000000 /dev/zero > big",
            Some("disk"),
        ),
        ("files without a name", nameless, Some("disk")),
        ("files that are only mapped", mapped, Some("disk")),
        (
            "many files",
            "i=0; while [ $i -lt 2000 ]; do : > f$i; i=$((i+1)); done; sleep 60",
            Some("files"),
        ),
        (
            "many files in /tmp",
            "cd /tmp; i=0; while [ $i -lt 2000 ]; do : > f$i; i=$((i+1)); done; sleep 60",
            Some("files"),
        ),
        (
            "memory",
            "perl -e 'my $x = \"x\" x (200 << 20); sleep 60'",
            None,
        ),
        (
            "memory of many",
            "for i in 1 2 3 4; do perl -e 'my $x = \"x\" x (40 << 20); sleep 60' & done; wait",
            Some("memory"),
        ),
        (
            "address space",
            "perl -e 'my $x = \"x\" x (3000 << 20)'",
            None,
        ),
        (
            "a file beyond all measure",
            "head -c 50000000 /dev/zero > huge",
            None,
        ),
        ("/tmp", "head -c 30000000 /dev/zero > /tmp/x", None),
        ("/dev/shm", "head -c 30000000 /dev/zero > /dev/shm/x", None),
        (
            "open files",
            "perl -e 'for (1..400) { open($f[$_], \"<\", \"/dev/null\") or exit 1 }'",
            None,
        ),
        (
            "processes",
            "perl -e 'for (1..100) { defined(my $p = fork) or exit 1; $p or do { sleep 60; exit } }'",
            None,
        ),
    ]
}

#[tokio::test]
async fn nobody_takes_more_than_there_is() {
    let place = Place::new();
    let limits = Limits {
        time: Duration::from_secs(50),
        disk: 16 * MIB,
        files: 1000,
        memory: 128 * MIB,
        address_space: 1024 * MIB,
        file_size: 40 * MIB,
        processes: 40,
        open_files: 200,
        temporary: 16 * MIB,
        ..Limits::default()
    };
    let mut wrong = Vec::new();
    for (name, script, expected) in greedy() {
        let ended = place.run(within(sh(script), limits.clone())).await;
        let cut = ended.cut.as_ref().map(|cut| match cut {
            Cut::Disk { .. } => "disk",
            Cut::Files { .. } => "files",
            Cut::Memory { .. } => "memory",
            Cut::Time { .. } | Cut::Unwatched { .. } => "other",
        });
        // Whoever is only told is told by the system, and fails.
        let is_told = cut.is_none() && ended.exit_code.is_some_and(|code| code != 0);
        // A file beyond its own limit may have too much for the directory, too.
        let is_right = match expected {
            None => is_told || cut == Some("disk"),
            cut_off => cut == cut_off,
        };
        if !is_right {
            wrong.push(format!("{name}: {ended:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // What was too much is gone.
    let after = place.sh("ls -A").await;
    assert!(!after.stdout.text().contains("big"), "{after:?}");
}

/// What a run leaves in its directory is data to everybody who comes later.
#[tokio::test]
async fn a_file_that_is_left_configures_nothing() {
    let place = Place::new();
    let fake = "#!/bin/sh\necho shadowed\n";
    let leave = format!(
        "printf '{}' > ls; cp ls bwrap; cp ls prlimit; chmod +x ls bwrap prlimit; mkdir -p .config bin usr/bin; cp ls bin; cp ls usr/bin; \
         echo 'echo shadowed' > .profile; cp .profile .bashrc; echo 'shadowed' > ld.so.preload; echo 'default = \"allow\"' > policy.toml; echo 'tools = 1' > tools.toml",
        fake.replace('\n', "\\n")
    );
    assert_eq!(place.sh(&leave).await.exit_code, Some(0));
    for argv in [&["ls"][..], &["sh", "-c", "ls"], &["sh", "-l", "-c", "ls"]] {
        let told = place.run(order(argv)).await;
        let (out, last) = (text(&told.stdout), argv.contains(&"-l"));
        assert!(out.contains("policy.toml"), "{argv:?}: {told:?}");
        // A login shell reads the run's own profile, inside the sandbox, because it was asked to.
        assert_eq!(out.contains("shadowed"), last, "{argv:?}: {told:?}");
    }
    place.sandbox.check().await.unwrap();
}

#[tokio::test]
async fn the_filter_is_on_and_no_right_is_left() {
    let place = Place::new();
    let told = place.sh("cat /proc/self/status").await;
    let status = told.stdout.text();
    let facts: BTreeMap<&str, &str> = status
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name, value.trim()))
        .collect();
    assert_eq!(facts["Seccomp"], "2");
    assert_eq!(facts["NoNewPrivs"], "1");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(facts[set], "0000000000000000", "{set}");
    }
    assert_eq!(facts["Uid"], "1000\t1000\t1000\t1000");
}

pub(crate) fn profile(text: &str) -> Arc<EscalatedProfile> {
    let policy = PolicyDocument::parse(text).unwrap_or_else(|faults| panic!("{faults}"));
    let digest = policy.digest();
    let compiled = gatewright_policy::CompiledPolicy::new(policy, 1, digest);
    Arc::clone(compiled.escalated_profile().unwrap())
}

/// A folder that a profile can name, which nothing under `/tmp` can be.
pub(crate) fn nameable() -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix("gatewright-test-")
        .tempdir_in(if Path::new("/var/tmp").is_dir() {
            "/var/tmp"
        } else {
            "/srv"
        })
        .unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    folder
}

#[tokio::test]
async fn a_profile_gives_what_it_names_and_nothing_else() {
    let place = Place::new();
    let folder = nameable();
    for name in ["in", "out", "other"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        fs::write(folder.path().join(name).join("file"), name).unwrap();
        let open = fs::Permissions::from_mode(0o777);
        fs::set_permissions(folder.path().join(name), open).unwrap();
    }
    let at = folder.path().display();
    let profile = profile(&format!(
        "[sandbox]\nescalated = 'out'\n[sandbox.profiles.out]\nreadable = ['{at}/in']\nwritable = ['{at}/out']\n"
    ));
    let script = format!(
        "cat {at}/in/file; echo new > {at}/out/new; echo x > {at}/in/new; cat {at}/other/file; ls {at}; cat /etc/shadow"
    );
    let escalated = || Order {
        profile: Some(Arc::clone(&profile)),
        ..sh(&script)
    };
    let ended = place.run(escalated()).await;
    assert_eq!(
        text(&ended.stdout),
        "in\nin\nout".replacen('\n', "", 1),
        "{ended:?}"
    );
    assert_eq!(
        fs::read_to_string(folder.path().join("out/new")).unwrap(),
        "new\n"
    );
    assert!(!folder.path().join("in/new").exists());
    // Without it there is nothing.
    let ended = place.sh(&script).await;
    assert_eq!(text(&ended.stdout), "", "{ended:?}");
    // What it names was replaced by a link to somewhere else.
    fs::remove_dir_all(folder.path().join("out")).unwrap();
    std::os::unix::fs::symlink("/etc", folder.path().join("out")).unwrap();
    let refused = place.sandbox.run(escalated()).await.unwrap_err();
    assert!(refused.reason.contains("symbolic link"), "{refused}");
}

#[tokio::test]
async fn a_program_is_the_one_that_was_read() {
    let place = Place::new();
    let folder = nameable();
    let path = folder.path().join("tool");
    fs::write(&path, "#!/bin/sh\necho first\n").unwrap();
    let program = Program::read(&path).unwrap();
    fs::write(&path, "#!/bin/sh\necho swapped\n").unwrap();
    let asked = || Order {
        programs: vec![program.clone()],
        ..order(&[path.to_str().unwrap()])
    };
    for _ in 0..2 {
        let ended = place.run(asked()).await;
        assert_eq!(text(&ended.stdout), "first", "{ended:?}");
    }
    assert_ne!(Program::read(&path).unwrap().digest(), program.digest());
    assert!(Program::read(folder.path()).is_err());
}

#[tokio::test]
async fn a_folder_that_somebody_else_can_write_to_is_refused() {
    let folder = open_folder();
    let dir = folder.path().join("shared");
    fs::create_dir(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let refused = |dir: PathBuf| async move {
        let sandbox = Sandbox::new(Settings {
            dir: Some(dir),
            ..Settings::default()
        });
        sandbox.check().await.unwrap_err()
    };
    let told = refused(dir.clone()).await;
    assert!(told.reason.contains("nobody else"), "{told}");
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&dir, &link).unwrap();
    assert!(refused(link).await.reason.contains("nobody else"));
    let mut file = fs::File::create(folder.path().join("file")).unwrap();
    assert!(
        refused(folder.path().join("file"))
            .await
            .remedy
            .contains("sandbox_dir")
    );
    let _ = file.read(&mut []);
}
