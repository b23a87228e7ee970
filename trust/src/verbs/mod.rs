//! The front door: a file per verb.

mod add_vendor;
mod init;
mod install;
mod publish;
mod pull;
mod push;
mod revoke;
mod rotate;
mod status;
mod update;

use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;

use crate::desk::Desk;
use crate::fault::Fault;

#[derive(Debug, Subcommand)]
pub enum Room {
    /// Say for a whole fleet whom it trusts, and take that back
    #[command(subcommand)]
    Trust(Trust),
    /// Packages to and from registries, and onto a gateway
    #[command(subcommand)]
    Plugin(Plugin),
    /// Ask a token once, for the program that started this
    #[command(hide = true)]
    Token,
}

#[derive(Debug, Subcommand)]
pub enum Trust {
    /// Begin a fleet: its keys, and a repository that travels
    Init(init::Init),
    /// Trust a vendor's key
    AddVendor(add_vendor::AddVendor),
    /// Replace a key of the fleet's own
    Rotate(rotate::Rotate),
    /// Take back a vendor's key, or one release
    Revoke(revoke::Revoke),
    /// Put packages into the repository; without one, sign anew what is there
    Publish(publish::Publish),
    /// Say who is trusted, and until when
    Status(status::Status),
    /// On a gateway: take over the fleet's newest metadata
    Update(update::Update),
}

#[derive(Debug, Subcommand)]
pub enum Plugin {
    /// Put a package into an OCI registry
    Push(push::Push),
    /// Get a package from an OCI registry into a file; `install` takes that
    Pull(pull::Pull),
    /// Take a package into this gateway: a file, or by its name from the fleet's repository
    Install(install::Install),
}

pub fn run(room: &Room) -> Result<(), Fault> {
    match room {
        Room::Token => {
            crate::token::answer();
            Ok(())
        }
        Room::Trust(Trust::Init(init)) => init::run(init),
        Room::Trust(Trust::AddVendor(add)) => add_vendor::run(add),
        Room::Trust(Trust::Rotate(rotate)) => rotate::run(rotate),
        Room::Trust(Trust::Revoke(revoke)) => revoke::run(revoke),
        Room::Trust(Trust::Publish(publish)) => publish::run(publish),
        Room::Trust(Trust::Status(status)) => status::run(status),
        Room::Trust(Trust::Update(update)) => update::run(update),
        Room::Plugin(Plugin::Push(push)) => push::run(push),
        Room::Plugin(Plugin::Pull(pull)) => pull::run(pull),
        Room::Plugin(Plugin::Install(install)) => install::run(install),
    }
}

/// Which fleet's desk.
#[derive(Debug, Args)]
pub struct At {
    /// The fleet's folder, which `wardgate trust init` made
    #[arg(long, value_name = "DIR", default_value = ".")]
    fleet: PathBuf,
    /// A further folder with keys, such as a stick's, or the address of a key in a token (pkcs11:...); may be given again
    #[arg(long, value_name = "DIR")]
    keys: Vec<PathBuf>,
}

impl At {
    fn desk(&self) -> Result<Desk, Fault> {
        Desk::load(&self.fleet, &self.keys)
    }
}

/// What time it is. Only a debug build, which nobody ships, lets a drill say so: whoever could on a gateway would make old metadata fresh.
#[derive(Debug, Args)]
pub struct Clock {
    #[cfg(debug_assertions)]
    #[arg(long, hide = true)]
    now: Option<String>,
}

impl Clock {
    fn moment(&self) -> Result<Timestamp, Fault> {
        #[cfg(debug_assertions)]
        if let Some(words) = &self.now {
            let wrong = |e| Fault::usage(format!("--now {words:?} is no moment: {e}"), "write it as 2027-01-31T12:00:00Z");
            return words.parse().map_err(wrong);
        }
        Ok(Timestamp::now())
    }
}

/// How to reach a mirror of the fleet's repository.
#[derive(Debug, Args)]
pub struct Mirror {
    /// Whose certificates are trusted for https, instead of this machine's
    #[arg(long, value_name = "FILE.pem")]
    ca: Option<PathBuf>,
    /// How long all of it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    patience: u64,
}

/// 2027-01-31 12:00 UTC
fn short(moment: Timestamp) -> String {
    let text = moment.to_string();
    format!("{} {} UTC", text.get(..10).unwrap_or_default(), text.get(11..16).unwrap_or_default())
}

/// Runs it to its end, or to the end of patience.
fn within<T>(seconds: u64, from: &str, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Fault::file("/proc/self"))?;
    let patient = async { tokio::time::timeout(Duration::from_secs(seconds), work).await };
    runtime.block_on(patient).unwrap_or_else(|_| Err(Fault::Slow { from: from.to_owned(), seconds }))
}

fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
