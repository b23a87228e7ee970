//! What can be said to `wardgate-cloud` on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use wardgate_cloud::ledger::STORE_LOST_AFTER_DAYS;

/// The far end of wardgate: receives what gateways send, keeps it, acknowledges it, and writes it down as JSON lines.
///
/// Not for active patient monitoring: the bedside monitor's own alarm stays the primary one.
#[derive(Parser)]
#[command(name = "wardgate-cloud", version, max_term_width = 100, after_help = "Begin with `wardgate-cloud receive --help`.")]
pub struct Cli {
    #[command(subcommand)]
    pub verb: Verb,
    /// Form of the log; without it `receive` writes JSON where standard error is no terminal.
    #[arg(long, global = true, value_enum, value_name = "FORM")]
    pub log: Option<LogForm>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogForm {
    Text,
    Json,
}

#[derive(Subcommand)]
pub enum Verb {
    /// Receive from gateways through an MQTT broker, until ended by SIGTERM or Ctrl-C.
    Receive(Box<Receive>),
    /// Write all lines of a raw log again, into a new folder.
    #[command(
        after_help = "Examples:\n  wardgate-cloud decode /srv/ward/raw /tmp/again\n  wardgate-cloud decode /srv/ward/raw/00000003.raw /tmp/third\n\n\
        The raw log is the truth; the lines follow from it, so they can be made again at any time, also by a later version.\n\
        No key is needed, and the receiver may go on working meanwhile."
    )]
    Decode {
        /// Folder of a raw log (DIR/raw of a receiver), one of its .raw files, or the file of one batch.
        #[arg(value_name = "IN")]
        input: PathBuf,
        /// A new or empty folder.
        out: PathBuf,
    },
    /// Show a raw log, a batch, or a .jsonl file as a table.
    #[command(
        after_help = "Examples:\n  wardgate-cloud show /srv/ward/raw/00000001.raw\n  wardgate-cloud show /srv/ward/ward-1/gaps.jsonl\n  \
        wardgate-cloud show /srv/ward/ward-1/bed-1/hr/2026-01-31T23.jsonl"
    )]
    Show { file: PathBuf },
    /// What will not come, of every gateway, with its reason; and sums.
    #[command(after_help = "Examples:\n  wardgate-cloud gaps /srv/ward\n  wardgate-cloud gaps /srv/ward --gateway ward-1 --since 2h\n  \
        wardgate-cloud gaps /srv/ward --since 2026-01-31T22 --until 2026-02-01 --json\n\n\
        `positions`: 12..15 will not come; `after 11`: a stretch of time after position 11, `before 0`: before the first of a run.\n\
        `values`: how many were lost, where anybody knows. The reason `unknown` is what nothing explains.\n\
        A gap of alerts says that alerts may have been lost, not that there were any.")]
    Gaps(Gaps),
}

#[derive(Args)]
pub struct Gaps {
    /// The folder that `receive --out` writes.
    pub out: PathBuf,
    /// Only of this gateway.
    #[arg(long, value_name = "NAME")]
    pub gateway: Option<String>,
    /// Only of this instance.
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,
    /// Only what ended after this: 2026-01-31, 2026-01-31T23:59 (UTC), or a time ago: 90s, 15m, 2h, 3d.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Only what began before this.
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// The lines of gaps.jsonl as they stand; a long silence is several of them, and one row of the table.
    #[arg(long)]
    pub json: bool,
}

#[derive(Args)]
#[command(
    after_help = "Example:\n  wardgate-cloud receive --host broker.hospital.lan --ca ca.pem \\\n      --username cloud --password-file cloud.password \\\n      \
    --key ward-1=ward-1.key --key ward-2=ward-2.key --out /srv/ward\n\n\
    What it writes:\n  \
    DIR/raw/                                        the truth: every batch as it came; lines are made from it\n  \
    DIR/<gateway>/<instance>/<channel>/<hour>.jsonl readings and samples, one file a stream and hour (UTC)\n  \
    DIR/<gateway>/<instance>/alerts/<hour>.jsonl    alarms of the device, forwarded as they stood\n  \
    DIR/<gateway>/gaps.jsonl                        every stretch that will not come, with its reason\n  \
    DIR/<gateway>/records.jsonl                     starts, clocks, beds, devices, descriptions\n\n\
    Exit codes: 0 ended in order, 1 a disk or the log failed, 2 wrong use or settings."
)]
pub struct Receive {
    /// The broker, by the name that its certificate bears.
    #[arg(long)]
    pub host: String,
    #[arg(long, default_value_t = 8883)]
    pub port: u16,
    /// PEM file of the authority that signed the broker's certificate.
    #[arg(long, value_name = "FILE")]
    pub ca: PathBuf,
    /// As the broker knows this receiver; needs --password-file.
    #[arg(long, requires = "password_file", value_name = "NAME")]
    pub username: Option<String>,
    /// Its first line is the password.
    #[arg(long, requires = "username", value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// Gateway and the file with the secret it shares with this receiver; once for each gateway.
    #[arg(long = "key", value_name = "GATEWAY=FILE")]
    pub keys: Vec<String>,
    /// Folder with a GATEWAY.key file for each gateway.
    #[arg(long = "keys", value_name = "DIR")]
    pub key_folder: Option<PathBuf>,
    /// Where everything is kept. Made when it is not there.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// What all topics begin with; the same as `uplink.topic` in gateway.toml.
    /// This user must be allowed to read TOPIC/+/up/+ and to write TOPIC/+/ack at the broker, a gateway to write TOPIC/GATEWAY/up/+ and read TOPIC/GATEWAY/ack.
    #[arg(long, default_value = "wardgate/1")]
    pub topic: String,
    /// Gets a JSON status every second.
    #[arg(long, value_name = "FILE")]
    pub status_file: Option<PathBuf>,
    /// A gateway's older data that stays out while newer comes is taken as lost with its store after so many days; if it comes after all, it counts.
    #[arg(long, value_name = "DAYS", default_value_t = STORE_LOST_AFTER_DAYS)]
    pub store_lost_after_days: u16,
}
