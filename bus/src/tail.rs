//! The live tail: what is appended from now on, by subject alone. Nothing is lost of the stream when a tail misses it.

use futures::{Stream, StreamExt as _};
use gatewright_schemas::{RunStatus, WorkspaceId};

use crate::{
    Fleet,
    layout::{LayoutError, unavailable},
    names::EventSubject,
};

impl Fleet {
    /// The subjects of the commits of `workspace` from now on, those that leave the run in `status` where one is given.
    pub async fn tail(
        &self,
        workspace: &WorkspaceId,
        status: Option<RunStatus>,
    ) -> Result<impl Stream<Item = EventSubject> + Send + Unpin + use<>, LayoutError> {
        let status = status.map_or("*", RunStatus::as_str);
        let filter = format!("{}.events.{workspace}.*.*.*.{status}", self.names.prefix());
        let subscription = self
            .client
            .subscribe(filter)
            .await
            .map_err(|error| unavailable("follow the events", &error))?;
        self.flush().await;
        let names = self.names.clone();
        Ok(subscription
            .filter_map(move |message| std::future::ready(names.read_event(&message.subject))))
    }
}
