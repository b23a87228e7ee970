//! The same compiler under another user, behind a socket that systemd holds (images/common): one connection compiles one component. It gets the
//! profile in a line, then the component; it answers with a head, and the code or the reason.

use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::{CODE_BYTES_MAX, COMPONENT_BYTES_MAX, CompileLimits, REASON_BYTES_MAX, code_of, confine, limit};
use crate::contract::printable;
use crate::plugin::PluginError;

/// The word by which the unit starts it.
pub const SERVE: &str = "serve";
const MAGIC: &[u8; 8] = b"wgcomp01";
const CODE: u8 = 0;
const REASON: u8 = 1;
/// Magic, kind, length.
const HEAD_BYTES: usize = 17;
const PROFILE_BYTES_MAX: usize = 16; // guarded, compact

pub async fn ask(socket: &Path, plugin: &str, profile: &str, component: &[u8], patience: Duration) -> Result<Vec<u8>, PluginError> {
    let plugin = plugin.to_owned();
    let failed = |why| PluginError::CompilerSocket { socket: socket.to_owned(), why };
    let work = async {
        let mut peer = UnixStream::connect(socket).await?;
        peer.write_all(format!("{profile}\n").as_bytes()).await?;
        let _ = peer.write_all(component).await; // one that refuses early closes its end; its own words say why
        let _ = peer.shutdown().await;
        let mut answer = Vec::new();
        peer.take(HEAD_BYTES as u64 + CODE_BYTES_MAX).read_to_end(&mut answer).await?;
        Ok(answer)
    };
    let limits = CompileLimits::default();
    match tokio::time::timeout(patience, work).await {
        Err(_) => Err(PluginError::CompileLimit { plugin, limit: format!("{} s in all", patience.as_secs()) }),
        Ok(Err(why)) => Err(failed(why)),
        Ok(Ok(answer)) => match read(&answer) {
            Some((CODE, code)) => Ok(code.to_vec()),
            Some((_, why)) => Err(PluginError::Invalid { plugin, why: printable(&String::from_utf8_lossy(why), REASON_BYTES_MAX) }),
            // it was ended by its limits, and could say nothing any more
            None => {
                let limit = format!("{} MiB of memory or {} s of processor time", limits.address_bytes >> 20, limits.cpu_s);
                Err(PluginError::CompileLimit { plugin, limit })
            }
        },
    }
}

fn read(answer: &[u8]) -> Option<(u8, &[u8])> {
    let (head, body) = answer.split_at_checked(HEAD_BYTES)?;
    let length = u64::from_le_bytes(head[9..].try_into().ok()?);
    (head[..8] == *MAGIC && length == body.len() as u64).then_some((head[8], body))
}

/// In the process that systemd starts for a connection, which is its standard input and output.
pub fn serve() -> ExitCode {
    let (kind, body) = match served() {
        Ok(code) => (CODE, code),
        Err(why) => (REASON, why.into_bytes()),
    };
    let head = [&MAGIC[..], &[kind], &(body.len() as u64).to_le_bytes()].concat();
    let mut out = io::stdout();
    // whoever asked may have gone
    let done = out.write_all(&head).and_then(|()| out.write_all(&body)).and_then(|()| out.flush());
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn served() -> Result<Vec<u8>, String> {
    let limits = CompileLimits::default();
    limit(limits.address_bytes, limits.cpu_s).map_err(|e| format!("cannot limit the compiler: {e}"))?;
    let walls = confine();
    let _ = writeln!(io::stderr(), "{}{walls}", super::WALLS); // the journal has it
    let mut asked = Vec::new();
    let most = COMPONENT_BYTES_MAX + PROFILE_BYTES_MAX as u64 + 1;
    io::stdin().take(most).read_to_end(&mut asked).map_err(|e| format!("cannot read the component: {e}"))?;
    let at = asked.iter().take(PROFILE_BYTES_MAX).position(|b| *b == b'\n').ok_or("no profile was asked for")?;
    let profile = std::str::from_utf8(&asked[..at]).map_err(|_| "no profile was asked for")?;
    if profile == super::ASK_WALLS {
        return Ok(walls.words().into_bytes());
    }
    code_of(profile, &asked[at + 1..])
}
