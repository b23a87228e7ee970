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

/// A verb whose reader has gone (`| head`) ends as any program does, with no word of a panic. As in the gateway's program, which links nothing of this one.
fn end_with_the_reader() {
    const CODE: i32 = 128 + 13; // what a shell says of a program that SIGPIPE ended
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload_as_str().unwrap_or_default();
        if text.starts_with("failed printing to stdout") && text.contains("Broken pipe") {
            std::process::exit(CODE);
        }
        usual(panic);
    }));
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    end_with_the_reader();
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default(); // nobody was before us
    match verbs::run(&arguments.room) {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("wardgate: {fault}\n  what to do: {}", fault.remedy());
            ExitCode::from(fault.exit_code())
        }
    }
}
