//! Attacks on the sandbox by whoever knows how it is built. Each of them succeeded once.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        net::UnixDatagram,
    },
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use gatewright_worker::sandbox::{Cut, Ended, Limits, Order, Sandbox, Settings};
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    process::{Pid, Signal, kill_process},
};

use crate::sandbox::{
    MIB, Place, all_gone, marker, nameable, open_folder, order, processes_with, profile, sh, within,
};

/// A socket of a service that a profile's folder holds.
#[tokio::test]
async fn no_half_of_a_pair_speaks_to_a_socket_in_a_profiles_path() {
    let place = Place::new();
    let folder = nameable();
    let service = folder.path().join("service");
    let socket = UnixDatagram::bind(&service).unwrap();
    socket.set_nonblocking(true).unwrap();
    fs::set_permissions(&service, fs::Permissions::from_mode(0o777)).unwrap();
    let at = folder.path().display();
    let profile = profile(&format!(
        "[sandbox]\nescalated = 'out'\n[sandbox.profiles.out]\nwritable = ['{at}']\n"
    ));
    let pair = "use Socket; socketpair(my $a, my $b, AF_UNIX, SOCK_DGRAM, 0) or exit 2;";
    for attempt in [
        "connect($a, sockaddr_un(\"$ARGV[0]/service\")) or exit 3; send($a, \"x\", 0) or exit 4",
        "send($a, \"x\", 0, sockaddr_un(\"$ARGV[0]/service\")) or exit 3",
        "bind($a, sockaddr_un(\"$ARGV[0]/own\")) or exit 3",
    ] {
        let script = format!("{pair} {attempt}");
        let words = ["perl", "-e", &script, folder.path().to_str().unwrap()];
        let outside = Command::new("perl").args(&words[1..]).output().unwrap();
        assert!(outside.status.success(), "{attempt}: {outside:?}");
        assert_eq!(socket.recv(&mut [0]).is_ok(), attempt.contains("service"));
        let _ = fs::remove_file(folder.path().join("own"));
        let ended = place
            .run(Order {
                profile: Some(Arc::clone(&profile)),
                ..order(&words)
            })
            .await;
        assert_eq!(ended.exit_code, Some(3), "{attempt}: {ended:?}");
    }
    assert!(socket.recv(&mut [0]).is_err(), "something came through");
}

/// Where the worker is not root its commands' files are its own, and such a file is a way to become the worker.
#[tokio::test]
async fn no_file_makes_its_user_of_others() {
    let place = Place::new();
    let fchmodat2 = libc::SYS_fchmodat2;
    for attempt in [
        "cp /usr/bin/true s && chmod 4755 s",
        "cp /usr/bin/true s && chmod g+s s",
        "perl -e 'open(my $f, \">\", \"s\"); chmod(02755, $f) or exit 1'",
        "perl -MFcntl -e 'sysopen(my $f, \"s\", O_CREAT | O_WRONLY, 04755) or exit 1'",
        &format!(
            "cp /usr/bin/true s && perl -e 'my $s = \"s\"; exit(syscall({fchmodat2}, -100, $s, 04755, 0) == 0 ? 0 : 1)'"
        ),
        &format!(
            "perl -e 'my $s = \"s\"; exit(syscall({}, -100, $s, 0104755, 0) == 0 ? 0 : 1)'",
            libc::SYS_mknodat
        ),
        // `struct open_how` is out of any filter's sight.
        &format!(
            "perl -e 'my $s = \"s\"; my $how = pack(\"QQQ\", 0101, 04755, 0); exit(syscall({}, -100, $s, $how, 24) >= 0 ? 0 : 1)'",
            libc::SYS_openat2
        ),
    ] {
        let outside = tempfile::tempdir().unwrap();
        let told = Command::new("sh")
            .args(["-c", attempt])
            .current_dir(outside.path())
            .output()
            .unwrap();
        let mode = fs::metadata(outside.path().join("s")).map_or(0, |found| found.mode());
        assert_ne!(mode & 0o6000, 0, "is no real attempt: {attempt}: {told:?}");
        let ended = place.sh(&format!("rm -f s; {attempt}")).await;
        let [runs] = &place.runs()[..] else { panic!() };
        let mode = fs::metadata(runs.join("r1/s")).map_or(0, |found| found.mode());
        assert_eq!(mode & 0o6000, 0, "{attempt}: {ended:?}");
        assert_ne!(ended.exit_code, Some(0), "{attempt}: {ended:?}");
    }
    // What programs usually do with modes goes on working.
    let usual = "umask 022; touch f && chmod 755 f && mkdir -m 1777 d && install -m 640 f g && perl -e 'open(my $f, \"<\", \"f\") or exit 1'";
    assert_eq!(place.sh(usual).await.exit_code, Some(0));
    // And nobody else gets to what is there, even where a command opens its directory.
    place.sh("chmod 777 /work").await;
    let [runs] = &place.runs()[..] else { panic!() };
    let instance = runs.ancestors().nth(2).unwrap();
    let mode = fs::metadata(instance).unwrap().mode();
    assert_eq!(mode & 0o007, 0, "{mode:o}");
}

/// What is the worker's own is not for commands, whatever a policy says.
#[tokio::test]
async fn no_profile_opens_the_workers_own_up() {
    let folder = nameable();
    let at = |name: &str| folder.path().join(name);
    for name in ["state/keys", "conf", "shared/out"] {
        fs::create_dir_all(at(name)).unwrap();
    }
    fs::write(at("conf/worker.nk"), "s3cr3t").unwrap();
    fs::hard_link(at("conf/worker.nk"), at("shared/other-name")).unwrap();
    symlink(at("conf"), at("shared/link")).unwrap();
    let sandbox = Sandbox::new(Settings {
        dir: Some(at("sandbox")),
        own: vec![
            at("state"),
            at("shared/link/worker.nk"),
            at("not-yet/config.toml"),
        ],
    });
    sandbox.check().await.unwrap();
    for name in [
        "",
        "/state",
        "/state/keys",
        "/conf",
        "/conf/worker.nk",
        "/shared/other-name",
        "/sandbox",
        "/not-yet",
    ] {
        fs::create_dir_all(at("not-yet")).unwrap();
        for list in ["readable", "writable"] {
            let path = format!("{}{name}", folder.path().display());
            let profile = profile(&format!(
                "[sandbox]\nescalated = 'x'\n[sandbox.profiles.x]\n{list} = ['{path}']\n"
            ));
            let asked = Order {
                profile: Some(profile),
                ..sh("true")
            };
            let refused = sandbox
                .run(asked)
                .await
                .map_or_else(|refused| refused.reason, |ended| format!("{ended:?}"));
            assert!(refused.contains("worker's own"), "{path}: {refused}");
        }
    }
    let path = at("shared/out");
    let profile = profile(&format!(
        "[sandbox]\nescalated = 'x'\n[sandbox.profiles.x]\nwritable = ['{}']\n",
        path.display()
    ));
    let asked = Order {
        profile: Some(profile),
        ..sh("ls -l /proc/self/fd")
    };
    let ended = sandbox.run(asked).await.unwrap();
    assert_eq!(ended.exit_code, Some(0), "{ended:?}");
    // What was opened for it does not reach the command: it would be a way out.
    assert!(!ended.stdout.text().contains("shared"), "{ended:?}");
}

/// Somebody with a writable path swaps folders for links just when they are mounted.
#[tokio::test(flavor = "multi_thread")]
async fn no_link_is_put_into_a_profiles_path_in_time() {
    let place = Place::new();
    let folder = nameable();
    let at = |name: &str| folder.path().join(name);
    for (name, text) in [("real", "given"), ("secret", "s3cr3t")] {
        fs::create_dir(at(name)).unwrap();
        fs::write(at(name).join("file"), text).unwrap();
    }
    symlink(at("secret"), at("swap")).unwrap();
    let (real, swap) = (at("real"), at("swap"));
    let is_over = Arc::new(AtomicBool::new(false));
    let swapping = std::thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            while !is_over.load(Ordering::Relaxed) {
                renameat_with(CWD, &real, CWD, &swap, RenameFlags::EXCHANGE).unwrap();
            }
        }
    });
    let profile = profile(&format!(
        "[sandbox]\nescalated = 'x'\n[sandbox.profiles.x]\nreadable = ['{}']\n",
        at("real").display()
    ));
    let script = format!("cat {}/file", at("real").display());
    let mut given = 0;
    let mut seen = Vec::new();
    for _ in 0..150 {
        let asked = Order {
            profile: Some(Arc::clone(&profile)),
            ..sh(&script)
        };
        if let Ok(ended) = place.sandbox.run(asked).await {
            given += usize::from(ended.stdout.text() == "given");
            seen.push(ended.stdout.text());
        }
    }
    is_over.store(true, Ordering::Relaxed);
    swapping.join().unwrap();
    assert!(!seen.iter().any(|text| text.contains("s3cr3t")), "{seen:?}");
    assert!(given > 0, "the swapping was never slow enough");
}

/// Tells the next test's worker where its folder is, and what its command sleeps.
const VICTIM: &str = "GATEWRIGHT_TEST_VICTIM";

/// A worker that is to be killed: it is started by the next test.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "is a part of another"]
async fn a_worker_to_be_killed() {
    let told = std::env::var(VICTIM).unwrap();
    let (folder, marker) = told.split_once(' ').unwrap();
    let sandbox = Sandbox::new(Settings {
        dir: Some(folder.into()),
        ..Settings::default()
    });
    sandbox.check().await.unwrap();
    eprintln!("ready");
    let _ = sandbox.run(order(&["sleep", marker])).await;
}

/// bubblewrap asks to be killed with the worker only after it has begun; so it is held up there.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_killed_leaves_no_command() {
    let folder = open_folder();
    for round in 0..12 {
        let marker = marker();
        let dir = folder.path().join("sandbox");
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "sandbox_attacks::a_worker_to_be_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(VICTIM, format!("{} {marker}", dir.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(victim.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "ready"));
        let bwrap = first_with(&marker);
        // From the very beginning to when the command runs.
        std::thread::sleep(Duration::from_micros(300) * round);
        let _ = kill_process(bwrap, Signal::STOP);
        victim.kill().unwrap();
        victim.wait().unwrap();
        let _ = kill_process(bwrap, Signal::CONT);
        // Whatever is left waits for the worker, and runs nothing; the next worker ends it.
        let began = Instant::now();
        while processes_with(&marker)
            .iter()
            .any(|line| !line.contains("bwrap"))
        {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{:?}",
                processes_with(&marker)
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let next = Sandbox::new(Settings {
            dir: Some(dir),
            ..Settings::default()
        });
        next.check().await.unwrap();
        all_gone(&marker).await;
    }
}

/// The first process that appears with `marker` among its arguments.
fn first_with(marker: &str) -> Pid {
    let began = Instant::now();
    loop {
        if let Some(line) = processes_with(marker)
            .into_iter()
            .find(|line| line.contains("bwrap"))
        {
            let pid = line.split(':').next().unwrap().rsplit('/').next().unwrap();
            return Pid::from_raw(pid.parse().unwrap()).unwrap();
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "no bubblewrap began"
        );
    }
}

fn small() -> Limits {
    Limits {
        time: Duration::from_secs(20),
        disk: 16 * MIB,
        files: 1000,
        memory: 128 * MIB,
        address_space: 1024 * MIB,
        file_size: 40 * MIB,
        processes: 40,
        open_files: 200,
        temporary: 16 * MIB,
        ..Limits::default()
    }
}

/// What comes of whoever takes too much.
#[derive(Debug, PartialEq)]
enum Fate {
    /// The system refuses it, and it ends with this code.
    Told(i32),
    /// It is killed for what it holds.
    Killed,
    Other,
}

fn fate(ended: &Ended) -> Fate {
    match (&ended.cut, ended.exit_code) {
        (None, Some(code)) if code != 0 => Fate::Told(code),
        (Some(Cut::Memory { .. } | Cut::Disk { .. }), _) => Fate::Killed,
        _ => Fate::Other,
    }
}

/// Fills `$len` bytes of memory at `$at`, giving back every MiB of it at once: no process then has it.
fn fill_and_give_back() -> String {
    format!(
        "open(my $z, \"<\", \"/dev/zero\"); for (0 .. ($len >> 20) - 1) {{ my $to = $at + ($_ << 20); syscall({}, fileno($z) + 0, $to, 1 << 20) == 1 << 20 or exit 4; syscall({}, $to, 1 << 20, 4) == 0 or exit 5 }} sleep 60",
        libc::SYS_read,
        libc::SYS_madvise
    )
}

fn hidden_memory() -> Vec<(&'static str, String, Fate)> {
    let (map, protect) = (libc::SYS_mmap, libc::SYS_mprotect);
    let fill = fill_and_give_back();
    vec![
        (
            "shared memory without a name, given back",
            format!("my $len = 200 << 20; my $at = syscall({map}, 0, $len, 3, 0x21, -1, 0); $at > 0 or exit 3; {fill}"),
            Fate::Told(3),
        ),
        (
            "the same, by way of a device",
            format!("open(my $d, \"+<\", \"/dev/zero\") or exit 2; my $len = 200 << 20; my $at = syscall({map}, 0, $len, 3, 1, fileno($d) + 0, 0); $at > 0 or exit 3; {fill}"),
            Fate::Told(3),
        ),
        (
            "memory that grows downwards, which is no data to the system",
            format!("my $at = syscall({map}, 0, 200 << 20, 3, 0x122, -1, 0); $at > 0 or exit 3; sleep 60"),
            Fate::Told(3),
        ),
        (
            "locks without number",
            "fork for 1 .. 4; my @l = map { pack(\"ssx4qqlx4\", 1, 0, $_ * 2, 1, 0) } reverse 1 .. 600; for my $n (1 .. 60) { open($f[$n], \"+>\", \"l$$-$n\") or exit 2; for my $l (@l) { fcntl($f[$n], 6, $l) or exit 3 } } sleep 60".into(),
            Fate::Killed,
        ),
        (
            "a process whose first thread has ended",
            format!("use threads; fork for 1 .. 2; threads->create(sub {{ my @x; push @x, \"x\" x (1 << 20) for 1 .. 50; sleep 60 }}); select(undef, undef, undef, 0.01); syscall({}, 0)", libc::SYS_exit),
            Fate::Killed,
        ),
        (
            "buffers of pairs of sockets",
            "use Socket; use IO::Handle; fork for 1 .. 2; for (1 .. 90) { socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, 0) or exit 3; push @s, $a, $b; for ($a, $b) { $_->blocking(0); 1 while syswrite($_, \"x\" x 4096) } } sleep 60".into(),
            Fate::Killed,
        ),
        (
            "mappings without number",
            format!("fork for 1 .. 3; my $n = 50000; my $at = syscall({map}, 0, $n << 12, 0, 0x22, -1, 0); $at > 0 or exit 3; for (0 .. $n / 2 - 1) {{ syscall({protect}, $at + ($_ << 13), 4096, 1) == 0 or exit 4 }} sleep 60"),
            Fate::Killed,
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_memory_is_hidden() {
    let place = Place::new();
    let mut wrong = Vec::new();
    for (name, script, expected) in hidden_memory() {
        let ended = place
            .run(within(order(&["perl", "-e", &script]), small()))
            .await;
        if fate(&ended) != expected {
            wrong.push(format!("{name}: {ended:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A page that a pipe holds on to keeps all of the large page alive that it was a part of.
#[tokio::test]
async fn no_page_is_put_into_a_pipe() {
    let place = Place::new();
    let pipe = "pipe(my $r, my $w) or exit 2; pipe(my $r2, my $w2); open(my $f, \"<\", \"/usr/bin/env\"); my $x = \"x\" x 4096;";
    for (call, arguments) in [
        (
            libc::SYS_vmsplice,
            "fileno($w) + 0, pack(\"PQ\", $x, 4096), 1, 0",
        ),
        (
            libc::SYS_splice,
            "fileno($f) + 0, 0, fileno($w) + 0, 0, 4096, 0",
        ),
        (
            libc::SYS_sendfile,
            "fileno($w) + 0, fileno($f) + 0, 0, 4096",
        ),
        (libc::SYS_tee, "fileno($r) + 0, fileno($w2) + 0, 1, 0"),
    ] {
        let script =
            format!("{pipe} syswrite($w, \"x\"); exit(syscall({call}, {arguments}) > 0 ? 0 : 3)");
        let outside = Command::new("perl").args(["-e", &script]).output().unwrap();
        assert!(outside.status.success(), "{script}: {outside:?}");
        let ended = place.run(order(&["perl", "-e", &script])).await;
        assert_eq!(ended.exit_code, Some(3), "{script}: {ended:?}");
    }
}

/// Files without a name, held where only one thread of a process has them.
#[tokio::test(flavor = "multi_thread")]
async fn no_file_without_a_name_is_hidden() {
    let place = Place::new();
    let hold = "for my $n (1 .. 40) { open(my $f, \"+>\", \"f$n\") or exit 1; unlink \"f$n\"; push @f, $f; print $f \"x\" x (1 << 20); $f->flush } sleep 60";
    for (name, script, expected) in [
        (
            "a table of open files of the thread's own",
            format!(
                "threads->create(sub {{ syscall({}, 500, 500, 2) == 0 or exit 3; {hold} }})->join",
                libc::SYS_close_range
            ),
            Fate::Told(3),
        ),
        (
            "a process whose first thread has ended",
            format!(
                "threads->create(sub {{ select(undef, undef, undef, 0.2); {hold} }}); syscall({}, 0)",
                libc::SYS_exit
            ),
            Fate::Killed,
        ),
    ] {
        let script = format!("use threads; use IO::Handle; {script}");
        let ended = place
            .run(within(order(&["perl", "-e", &script]), small()))
            .await;
        assert_eq!(fate(&ended), expected, "{name}: {ended:?}");
    }
}

/// However fast it takes memory: what the system kills where there is none left is in the sandbox.
#[tokio::test]
async fn the_system_kills_commands_first() {
    let told = Place::new().sh("cat /proc/self/oom_score_adj").await;
    assert_eq!(told.stdout.text(), "1000\n");
}

/// Nobody looks as often as a disk can be filled by calls that write nothing.
#[tokio::test]
async fn no_space_is_taken_without_being_written() {
    let place = Place::new();
    // `struct space_resv`, for `FS_IOC_RESVSP`, `FS_IOC_RESVSP64` and `FS_IOC_ZERO_RANGE`.
    for request in [0x4030_5828_u32, 0x4030_582a, 0x4030_5839] {
        let script = format!(
            "open(my $f, \"+>\", \"f\") or exit 2; my $r = pack(\"ssx4qqlLx16\", 0, 0, 0, 1 << 20, 0, 0); ioctl($f, {request}, $r) or exit 3"
        );
        let ended = place.run(order(&["perl", "-e", &script])).await;
        assert_eq!(ended.exit_code, Some(3), "{request:x}: {ended:?}");
    }
}

/// A part of the system in which a way out of sandboxes was found, and that nobody needs.
#[tokio::test]
async fn nothing_is_sent_out_of_band() {
    let script = "use Socket; socketpair(my $a, my $b, AF_UNIX, SOCK_STREAM, 0) or exit 2; send($a, \"x\", MSG_OOB) or exit 3";
    let ended = Place::new().run(order(&["perl", "-e", script])).await;
    assert_eq!(ended.exit_code, Some(3), "{ended:?}");
}
