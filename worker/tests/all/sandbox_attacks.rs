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

use gatewright_worker::sandbox::{Order, Sandbox, Settings};
use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    process::{Pid, Signal, kill_process},
};

use crate::sandbox::{
    Place, all_gone, marker, nameable, open_folder, order, processes_with, profile, sh,
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
