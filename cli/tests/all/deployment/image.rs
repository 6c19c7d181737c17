//! The image.

use super::read;

#[test]
fn the_image_is_built_with_the_toolchain_of_the_tree() {
    let wanted: toml::Table = read("rust-toolchain.toml").parse().unwrap();
    let channel = wanted["toolchain"]["channel"].as_str().unwrap();
    let from = format!("FROM rust:{channel}-slim-bookworm AS build");
    assert!(read("Dockerfile").contains(&from), "`{from}` is not there");
    // Else rustup would look for lints and formatting in the middle of a build.
    assert!(
        read(".dockerignore")
            .lines()
            .any(|line| line == "rust-toolchain.toml")
    );
}

#[test]
fn what_may_hold_a_password_stays_out_of_the_build() {
    let ignored = read(".dockerignore");
    assert!(ignored.lines().any(|line| line == ".*"));
    let kept: Vec<&str> = ignored
        .lines()
        .filter(|line| line.starts_with('!'))
        .collect();
    assert_eq!(kept, ["!.sqlx"]);
}
