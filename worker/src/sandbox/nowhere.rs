//! Where there is no Linux there is no sandbox.

use gatewright_schemas::{RunId, WorkspaceId};

use super::{Ended, Order, Settings, Unavailable};

/// Cannot be had here.
#[derive(Debug)]
pub(super) enum Jail {}

impl Jail {
    #[expect(clippy::unused_async, reason = "its counterpart on Linux waits")]
    pub(super) async fn build(_: &Settings) -> Result<Self, Unavailable> {
        Err(Unavailable::new(
            "bubblewrap needs Linux",
            "run the workers that execute commands on Linux",
        ))
    }

    #[expect(clippy::unused_async, reason = "its counterpart on Linux waits")]
    pub(super) async fn run(&self, _: Order) -> Result<Ended, Unavailable> {
        match *self {}
    }

    #[expect(clippy::unused_async, reason = "its counterpart on Linux waits")]
    pub(super) async fn forget(&self, _: &WorkspaceId, _: &RunId) {
        match *self {}
    }
}
