//! What is deployed beside the binary fits it: containers, manifests, and what documents tell people to type.
//!
//! Everything here reads files. That they work on an engine and a cluster is not tried here.

mod commands;
mod compose;
mod documents;
mod image;
mod kubernetes;
mod prometheus;

use std::path::{Path, PathBuf};

use gatewright_cli::settings;

/// The project's directory.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether the binary looks for a variable of this name.
fn is_known(variable: &str) -> bool {
    settings::VARIABLES.contains(&variable)
}

/// The values of a flag that stands as `--name=value`.
fn values_of(words: &[String], flag: &str) -> Vec<String> {
    let values = words.iter().filter_map(|word| {
        let (name, value) = word.split_once('=')?;
        (name == flag).then(|| value.to_owned())
    });
    values.collect()
}

/// Where a role serves what a flag turns on: on every address of its container, at this port.
fn port_of(words: &[String], flag: &str) -> u16 {
    let [address] = values_of(words, flag)
        .try_into()
        .unwrap_or_else(|found| panic!("{flag} in {words:?}: {found:?}"));
    port(&address)
}

/// The port of an address that is every one of a container.
fn port(address: &str) -> u16 {
    let port = address.strip_prefix("0.0.0.0:");
    port.unwrap_or_else(|| panic!("{address} is reached by nobody else"))
        .parse()
        .unwrap()
}
