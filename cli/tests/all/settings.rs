//! Settings: where they stand, and everything that is wrong with them at once. Needs no server.

use crate::support::{gatewright, run};

#[test]
fn every_bad_setting_is_told_at_once_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let config = "# settings\nnats_url = \"http://secret@here\"\nconcurrency = 0\nzones = [\"moon\"]\nsurprise = true\nname = 7.5\n";
    std::fs::write(folder.path().join("g.toml"), config).unwrap();
    let mut command = gatewright();
    command
        .args(["worker", "--config", "g.toml", "--log", "loud"])
        .env("DATABASE_URL", "mysql://me:secret@there/db")
        .env("GATEWRIGHT_DRAIN_PATIENCE", "soon")
        .current_dir(folder.path());
    let done = run(command, "").ends(2);
    for told in [
        "8 settings are not usable",
        "g.toml:2:1: `nats_url`",
        "g.toml:3:1: `concurrency`: `0` is no number from 1 to 100000",
        "g.toml:4:1: `zones`: `moon` is none of",
        "g.toml:5:1: `surprise` is no setting",
        "g.toml:6:1: `name` must be",
        "`--log`: `loud` is none of text, json",
        "DATABASE_URL: must look like postgres://",
        "GATEWRIGHT_DRAIN_PATIENCE",
    ] {
        assert!(done.err.contains(told), "{told} is missing in {done:#?}");
    }
    assert!(!done.err.contains("secret"), "{done:#?}");
}

#[test]
fn the_command_line_outweighs_the_environment_and_that_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::write(path.join("g.toml"), "nats_url = \"nats://127.0.0.1:1\"\n").unwrap();
    let tried = |environment: Option<&str>, flag: Option<&str>| {
        let mut command = gatewright();
        command
            .args(["worker", "list", "--config", "g.toml"])
            .current_dir(path);
        if let Some(url) = environment {
            command.env("NATS_URL", url);
        }
        if let Some(url) = flag {
            command.args(["--nats-url", url]);
        }
        // Nobody listens there: the error says where it was looked.
        run(command, "").ends(4).err
    };
    assert!(tried(None, None).contains("127.0.0.1:1`"));
    assert!(tried(Some("nats://127.0.0.1:2"), None).contains("127.0.0.1:2`"));
    assert!(
        tried(Some("nats://127.0.0.1:2"), Some("nats://u:pw@127.0.0.1:3"))
            .contains("nats://127.0.0.1:3`")
    );
}

#[test]
fn a_command_without_a_database_says_how_to_name_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = gatewright();
    command.args(["run", "list"]).current_dir(folder.path());
    let done = run(command, "").ends(2);
    assert!(done.err.contains("DATABASE_URL"), "{done:#?}");
}
