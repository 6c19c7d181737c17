//! Compiles again when a migration is added: `sqlx::migrate!` sees only files that were there before.

fn main() {
    println!("cargo:rerun-if-changed=../migrations");
}
