//! Waiting for something to become true, or to stay true.

use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_millis(10);

/// Looks again and again until `look` answers with `Ok`. Panics with the last state seen when that takes longer than `timeout`.
pub async fn eventually<T>(
    what: &str,
    timeout: Duration,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let began = Instant::now();
    loop {
        let seen = match look().await {
            Ok(value) => return value,
            Err(seen) => seen,
        };
        assert!(
            began.elapsed() < timeout,
            "not within {timeout:?}: {what}\nlast seen: {seen}"
        );
        tokio::time::sleep(EVERY).await;
    }
}

/// Looks again and again for as long as `span`. Panics as soon as `look` answers with `Err`.
pub async fn holds_for(
    what: &str,
    span: Duration,
    mut look: impl AsyncFnMut() -> Result<(), String>,
) {
    let began = Instant::now();
    while began.elapsed() < span {
        if let Err(seen) = look().await {
            panic!(
                "after {:?} no longer: {what}\nseen: {seen}",
                began.elapsed()
            );
        }
        tokio::time::sleep(EVERY).await;
    }
}
