//! Writing what the projector folded.
//!
//! How a batch goes, and why it is safe:
//!
//! 1. A [`Writer`] is the one projector that may write: its connection holds an advisory lock, and the same connection
//!    writes, so whoever loses the lock cannot write either.
//! 2. Before a fold, [`Writer::load`] puts the rows into the [`Batch`] that the fold will touch and that are not in it yet ([`Needs`]).
//!    So the fold works on whole rows, and it makes no difference where a batch is cut.
//! 3. [`Writer::write`] replaces those rows, adds the new ones, and moves the checkpoint, in one transaction.
//!    It refuses when the checkpoint is not where the batch began.
//! 4. `synchronous_commit` is off: after a power cut the database may lack the last transactions, rows and checkpoint alike,
//!    and they are folded again from the stream.
//!
//! New and changed rows go in by binary `COPY`, rows that were stored before are deleted first.
//! One way in for every table, and no column that an `update` could forget.

mod approval;
mod authority;
mod batch;
mod copy;
mod decision;
mod egress;
mod event;
mod load;
mod remembered_approval;
mod row;
mod run;
mod step;
mod tool_call;
mod words;
mod writer;

pub use approval::{ApprovalRow, ApprovalStatus, AskedRow, VoteRow};
pub use authority::{CapabilityTokenRow, PolicyRevisionRow, PrincipalRow};
pub use batch::{Batch, Decisions, Events, Position, RunRows, Runs, Slots};
pub use decision::DecisionRow;
pub use egress::{EgressRow, EgressStatus};
pub use event::UnstorableEvent;
pub use load::Needs;
pub use remembered_approval::RememberedApprovalRow;
pub use row::digest_bytes;
pub use run::RunRow;
pub use step::StepRow;
pub use tool_call::ToolCallRow;
pub use writer::{WriteError, Writer};
