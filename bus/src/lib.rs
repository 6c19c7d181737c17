//! The bus: all that knows NATS, and nothing else does.
//!
//! - [`Fleet`] is a connection to one fleet; [`Names`] spells its streams and subjects.
//! - [`append`](Fleet::append) is the one function that appends events, always fenced. Its protocol is told in [`append`](mod@append).
//! - [`load`](Fleet::load) folds a run's history from the stream.
//! - [`queue`] wakes runs and takes them; [`intake`] is the dispatcher's side of submissions and commands.
//! - [`EventFeed`] reads the whole stream in order, for projectors and tails.
//! - [`authority`] keeps policy, capabilities and principals in KV, and every gate's local copy of them fresh.
//! - [`quota`] counts what limits allow, across the fleet.
//! - [`vault`] keeps the secrets of runs until they have ended.
//! - [`keys`] keeps who may use the HTTP API, by what key.
//! - [`layout`] creates and checks streams, consumers and buckets.
//! - [`permissions`] says what each role may publish and hear, and [`server_config`] tells the server.
//! - [`trace`] puts into messages' headers where in a trace they were written, and reads it there.
//! - [`telemetry`] is what the roles measure of themselves.
//! - [`service`] asks a service of somebody else's.
//! - [`retry`] is how everything that may be tried again is tried again.
//!
//! Not here: what a run does next (`run`), whether a call may happen (`policy`), any SQL (`store`).

pub mod append;
pub mod authority;
mod backward;
mod bucket;
pub mod clock;
pub mod dead_letters;
pub mod depth;
mod ear;
mod fate;
pub mod feed;
pub mod fleet;
pub mod follow;
pub mod intake;
pub mod keys;
pub mod layout;
pub mod load;
pub mod names;
pub mod nkey;
mod pages;
pub mod parked;
pub mod permissions;
pub mod presence;
pub mod queue;
pub mod quota;
pub mod request;
pub mod retry;
pub mod server_clock;
pub mod server_config;
pub mod service;
pub mod tail;
pub mod telemetry;
mod tls;
pub mod trace;
pub mod vault;
mod watched;

pub use append::AppendError;
pub use fate::Fate;
pub use feed::{EventFeed, FeedError, StreamIdentity};
pub use fleet::{ConnectError, Connection, Credentials, Fleet};
pub use load::{Illegible, LoadError, Loaded};
pub use names::Names;
pub use tls::{ClientCertificate, Tls};
