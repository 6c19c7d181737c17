//! A role that runs in this process.

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A role that runs in this process. Dropping it lets it run on until the fleet ends.
pub struct Inside {
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Inside {
    /// Starts `work`, which ends when `shutdown` is cancelled.
    pub(crate) fn start(
        work: impl Future<Output = ()> + Send + 'static,
        shutdown: CancellationToken,
    ) -> Self {
        let task = tokio::spawn(work);
        Self { shutdown, task }
    }

    /// Asks it to end, as SIGTERM does, and waits until it has.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}
