//! Free ports on loopback.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where private servers listen: below the range from which Linux (32768) and macOS (49152) take
/// the ports of outgoing connections.
///
/// A port of that range would be the natural choice (bind port 0), but a server that is to come
/// back on its port after a restart must not lose it in between to somebody's outgoing connection,
/// or to a client that reconnects so eagerly that it meets itself there.
const FIRST: u16 = 18_000;
const COUNT: u16 = 14_000;

/// A TCP port of 127.0.0.1 that nobody listens on now.
///
/// Somebody may take it before the caller does: a caller must be ready to ask again.
pub fn free_port() -> io::Result<u16> {
    let start = scattered();
    for step in 0..COUNT {
        // Consecutive candidates from a scattered start: processes that ask at the same moment
        // rarely look at the same ports.
        let port = FIRST + start.wrapping_add(step) % COUNT;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    // All of them taken: whatever the system still has.
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// A different number for every process and moment; no more randomness is needed to avoid queues.
fn scattered() -> u16 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    hasher.write_u128(now.map(|d| d.as_nanos()).unwrap_or_default());
    let number = hasher.finish() % u64::from(COUNT);
    u16::try_from(number).unwrap_or_default()
}
