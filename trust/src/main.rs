//! The binary `wardgate-trust`: parse, call a verb, map its error to an exit code. `wardgate trust` and `wardgate plugin push` and the like become it.

use std::process::ExitCode;

use clap::Parser;
use wardgate_trust::verbs;

/// Whom a fleet of gateways trusts; packages to and from registries.
#[derive(Parser)]
#[command(version, name = "wardgate", bin_name = "wardgate", after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    room: verbs::Room,
}

const EXAMPLES: &str = "\
Examples:
  wardgate trust init fleet                                             keys, and a repository that travels
  wardgate trust update --from /media/stick --to /etc/wardgate/trust    on a gateway
  wardgate plugin push pump-1.0.0.wardgate oci://registry.example/pump:1.0.0

Exit codes: 0 well, 2 wrong usage, 3 configuration, 4 refused, 5 disk, 6 address or link, 7 password or certificate.";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default(); // nobody was before us
    match verbs::run(&arguments.room) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("wardgate: {fault}\n  what to do: {}", fault.remedy());
            ExitCode::from(fault.exit_code())
        }
    }
}
