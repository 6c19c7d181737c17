//! Private servers as child processes: a real nats-server (or three) and a real Postgres for
//! `gatewright dev`, the demo, the benchmarks and the tests.
//!
//! What it is: it finds the server binaries ([`Binaries`]), starts them on loopback with their own
//! data directory ([`NatsServer`], [`NatsCluster`], [`Postgres`]), waits until they really answer,
//! watches them, and stops, kills, suspends and restarts them on the same port with the same data.
//!
//! What it is not: it installs nothing (`make setup` does), it speaks neither SQL nor JetStream, and
//! production never links it into a role: there the servers are somebody else's.
//!
//! # What it promises
//!
//! - It touches no server that it did not start. A server is known by the process it is, and
//!   NATS also by the name that it reports; ports are free ones, never from a convention.
//! - A data directory has one server. The lock on it is held by the server's own processes
//!   (`lock.rs` says how), so it ends exactly when the last of them does, however that happens.
//! - Nothing is left behind: dropping a server ends its whole process tree, and on Linux (with
//!   `setpriv`) the kernel ends it too when this process is killed.
//! - Root is no obstacle: Postgres refuses to run as root, so it is started as an unprivileged user
//!   (see [`Postgres`] for where its files then are).
//!
//! # Where to read on
//!
//! `process.rs` has the one type through which every signal and every wait goes, `nats.rs` and
//! `postgres.rs` what is special about each server, `cluster.rs` the three nodes.
//! Unix only: it is built on signals and file locks.

mod binaries;
mod cluster;
mod error;
mod family;
mod lock;
mod log;
mod nats;
mod placement;
mod ports;
mod postgres;
mod probe;
mod process;
mod template;
mod user;

pub use binaries::{Binaries, MissingBinary};
pub use cluster::NatsCluster;
pub use error::{SignalError, StartError};
pub use nats::{ClusterOptions, NatsOptions, NatsServer, SyncInterval};
pub use ports::free_port;
pub use postgres::{Postgres, PostgresOptions};
