//! Gatewright's read tables in Postgres: their migrations, the projection's writes, and every query.
//!
//! The only crate that names sqlx.
//! Not here: what an event means for a row (that is the fold in `gatewright-projector`), and any truth:
//! the tables are a copy of the stream and can be dropped and folded anew.
//!
//! One module per table, for reading: [`run`], [`step`], [`tool_call`], [`event`], [`decision`], [`approval`], [`egress`],
//! [`capability`], [`principal`], [`policy_revision`], [`remembered_approval`], [`worker`], [`dead_letter`], [`checkpoint`];
//! [`recorded`] for replaying decisions.
//! Nothing here counts a table: lists are cut into pages, and pages by keys.
//! [`projection`] writes a folded batch with its checkpoint in one transaction, [`rebuild`] empties the tables for a new start,
//! [`migrate`] brings a database up to date and refuses one that this program does not fit.
//!
//! Queries are checked against the migrations when the crate is compiled, from the metadata in `.sqlx/`.
//! Bulk writes are `COPY`s, which cannot be; the tests of this crate hold them.

pub mod approval;
pub mod capability;
pub mod checkpoint;
pub mod dead_letter;
pub mod decision;
pub mod dump;
pub mod egress;
mod error;
pub mod event;
pub mod migrate;
pub mod overview;
pub mod policy_revision;
pub mod principal;
pub mod projection;
mod reading;
pub mod rebuild;
pub mod recorded;
pub mod remembered_approval;
pub mod run;
pub mod step;
mod store;
mod time;
pub mod tool_call;
pub mod worker;

pub use error::StoreError;
pub use store::{ConnectError, MIN_SERVER, Options, Store};
pub use time::Time;
