//! A side window: answers over a local socket in the state folder, one JSON line for one connection. It only shows.

use std::io;
use std::path::{Path, PathBuf};

use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;

use crate::status::Status;

/// One answer to a slow reader may not keep the next waiting for longer.
const ANSWER_MS_MAX: u64 = 1000;

pub fn socket_path(state: &Path) -> PathBuf {
    state.join("status.sock")
}

/// Whoever may read the state folder may ask. A socket left by a killed gateway is replaced: the state folder's lock is held by now.
pub fn listen(state: &Path) -> io::Result<UnixListener> {
    let path = socket_path(state);
    match std::fs::remove_file(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    UnixListener::bind(path)
}

pub async fn serve(listener: UnixListener, status: Status, now: fn() -> u64) {
    loop {
        let Ok((mut peer, _)) = listener.accept().await else { continue };
        let mut snapshot = status.read();
        snapshot.monotonic_ns = now();
        let mut line = serde_json::to_vec(&snapshot).expect("plain numbers and texts");
        line.push(b'\n');
        let answer = peer.write_all(&line);
        // a reader that went away or stalls is its own loss
        let _ = tokio::time::timeout(std::time::Duration::from_millis(ANSWER_MS_MAX), answer).await;
    }
}
