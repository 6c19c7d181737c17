//! The projector: folds the stream of events into the read tables that dashboards and operators look at.
//!
//! - [`fold()`] is pure: what each event means for which row. It is the same live, after a crash and in a rebuild.
//! - [`Needs`](gatewright_store::projection::Needs) of a batch ([`needs::of`]) are the stored rows that its fold continues.
//! - [`Session`] is one projector's hold on the tables: load, fold, write, batch by batch.
//! - [`run`](run()) is the loop: become the active one, make sure that the stream is the one that was folded so far ([`identity`]), follow it.
//! - [`rebuild`](rebuild()) empties the tables and folds the stream from its beginning.
//! - [`aside`] copies what is not in that stream: workers' heartbeats and dead letters.
//!
//! Nothing that the fold writes depends on the clock, or on where a batch was cut; so the tables are the same
//! however often the projector died.
//! A commit that cannot be understood stops the projector: a table that silently lacks something is worse than one that is late.

pub mod aside;
mod fold;
pub mod identity;
mod ids;
mod inbox;
pub mod needs;
mod projector;
mod session;

pub use fold::{Unreadable, fold};
pub use projector::{Halted, Options, rebuild, run};
pub use session::{ApplyError, Session};
