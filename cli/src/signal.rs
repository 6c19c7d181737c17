//! When to stop: at the first SIGTERM or Ctrl-C in order, at the second at once.

use std::io::Read as _;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Set by a `gatewright dev` for its roles: they stop when their standard input ends, which it does
/// when the parent closes it and also when the parent dies, however that happens.
pub const STOP_AT_END_OF_INPUT: &str = "GATEWRIGHT_STOP_AT_END_OF_INPUT";

/// The exit code of a program that was ended by a second signal.
const INTERRUPTED: i32 = 130;

/// Cancelled at the first signal. The second one ends the process.
pub fn shutdown() -> CancellationToken {
    let (shutdown, hurry) = shutdown_and_hurry();
    tokio::spawn(async move {
        hurry.cancelled().await;
        std::process::exit(INTERRUPTED);
    });
    shutdown
}

/// One token for the first signal and one for the second: for whoever has children to end.
pub fn shutdown_and_hurry() -> (CancellationToken, CancellationToken) {
    let (shutdown, hurry) = (CancellationToken::new(), CancellationToken::new());
    if std::env::var_os(STOP_AT_END_OF_INPUT).is_some() {
        watch_input(shutdown.clone());
    }
    let told = (shutdown.clone(), hurry.clone());
    tokio::spawn(async move {
        let (shutdown, hurry) = told;
        let signals = (
            signal(SignalKind::interrupt()),
            signal(SignalKind::terminate()),
        );
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
            tracing::error!("signals cannot be watched; only SIGKILL ends this process");
            return;
        };
        for token in [shutdown, hurry] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            token.cancel();
        }
    });
    (shutdown, hurry)
}

/// A thread of its own: a blocking read would keep the runtime from ending.
fn watch_input(shutdown: CancellationToken) {
    std::thread::spawn(move || {
        let mut scrap = [0; 64];
        while std::io::stdin().read(&mut scrap).is_ok_and(|read| read > 0) {}
        shutdown.cancel();
    });
}
