//! Traces: where in one a piece of work belongs, spans, and how they get to a collector. All that knows OpenTelemetry.
//!
//! One run is one trace, from its submission to the read tables, however many processes work on it, die over it or wait days for it.
//!
//! 1. What carries it. Headers of messages get lost: a wake-up may be one that the reconciler made, a turn one that takes over from the
//!    dead. So what the submitter said of its own trace stands in `run.created`, and with it in the state of the run.
//!    Where nobody said anything, the trace's id is made of the workspace and the run: every process comes to the same one.
//! 2. The run's own span is the one of its admission. Its id is made the same way, so that every process knows its parent without
//!    being told ([`RunTrace`]). Headers only say more closely where in the run something belongs, and are believed only within its trace.
//! 3. Sampling. Where the submitter's trace has a flag, it counts for everybody (with the sampler that is the default). Where the id is
//!    made, each process asks its sampler about that id: equally set they answer alike.
//! 4. Without a collector nothing is recorded ([`is_on`]); places are handed on all the same, so that others may trace.
//! 5. Nothing that a tool is called with stands in a span, and no secret.
//!
//! - [`Place`] is where in a trace something belongs, and what headers say of it.
//! - [`Span`] is a piece of work with its time.
//! - [`Settings`] reads the standard variables, [`start`] sends spans to a collector.
//!
//! Not here: NATS' and HTTP's headers themselves (`bus`, `dispatcher`), what is worth a span (those who do it).

mod collector;
mod counted;
mod export;
mod ids;
mod place;
mod run;
mod settings;
mod span;

pub use collector::UnusableCollector;
pub use export::{Exporting, is_on, start};
pub use place::{Place, within};
pub use run::RunTrace;
pub use settings::{BadSetting, Settings, VARIABLES};
pub use span::{Kind, Span};
