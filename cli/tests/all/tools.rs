//! `tool`: Gatewright's own and the user's. Needs no server.

use std::{fs, path::Path, process::Command};

use crate::support::{Done, gatewright, run};

fn example() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../worker/examples/tools");
    folder.join("tools.toml").display().to_string()
}

fn tool(words: &[&str]) -> Done {
    let mut command: Command = gatewright();
    command.arg("tool").args(words);
    run(command, "")
}

#[test]
fn tools_of_ones_own_stand_beside_the_others() {
    let listed = tool(&["list", "--tools", &example(), "-o", "ids"]).ends(0);
    let expected = [
        "egress.request",
        "exec_command",
        "runtime.echo",
        "runtime.noop",
        "text.count",
        "tickets.open",
    ];
    assert_eq!(listed.lines(), expected);
    let own = tool(&["list", "-o", "ids"]).ends(0);
    assert_eq!(own.lines(), expected[..4]);

    let mut command = gatewright();
    command
        .args(["tool", "show", "tickets.open", "--json"])
        .env("GATEWRIGHT_TOOLS", example());
    let shown = run(command, "").ends(0).json();
    assert_eq!(shown["runs"]["what"]["subject"], "tickets.open");
    assert_eq!(shown["effect"], "write");
    assert_eq!(shown["input_schema"]["required"][0], "title");
    assert!(shown["digest"].is_string());
    let table = tool(&["show", "exec_command"]).ends(0);
    assert!(table.out.contains("in the sandbox"), "{table:#?}");
}

#[test]
fn a_file_of_tools_is_checked_before_anybody_has_it() {
    let good = tool(&["validate", &example(), "--json"]).ends(0).json();
    assert_eq!(
        (good["valid"].as_bool(), good["tools"][0]["name"].as_str()),
        (Some(true), Some("text.count"))
    );

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tools.toml");
    fs::write(
        &path,
        "[[tools]]\nname = 'exec_command'\ndescription = 'x'\nkind = 'nats'\nsubject = 'blue.submit.a'\ninput_schema = {}\ntimeout = 'soon'\n",
    )
    .unwrap();
    let file = path.display().to_string();
    let told = tool(&["validate", &file]).ends(1);
    assert!(
        told.out
            .contains(&format!("{file}:7:11: fault: /tools/0/timeout: `soon`")),
        "{told:#?}"
    );
    let text = fs::read_to_string(&path).unwrap().replace("soon", "1s");
    fs::write(&path, text).unwrap();
    let told = tool(&["validate", &file, "--prefix", "blue"]).ends(1);
    for part in [
        ":2:8: fault: /tools/0/name: `exec_command`",
        ":5:11: fault: /tools/0/subject: is the fleet's own",
    ] {
        assert!(told.out.contains(part), "{part}: {told:#?}");
    }
    // No worker starts with it.
    let mut command = gatewright();
    command.args([
        "worker",
        "--tools",
        &file,
        "--nats-url",
        "nats://127.0.0.1:1",
    ]);
    let told = run(command, "").ends(2);
    assert!(told.err.contains("/tools/0/name"), "{told:#?}");
    tool(&["validate"]).ends(2);
    tool(&["validate", "missing.toml"]).ends(2);
    tool(&["list", "--tools", "missing.toml"]).ends(2);
}
