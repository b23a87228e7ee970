//! The binary `wardgate`: parse, log, call a verb, map its error to an exit code.

mod logs;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use wardgate::cli;
use wardgate::plugin::Compiler;

/// A gateway for a hospital ward: reads devices through sandboxed plugins, keeps every batch safe on flash, forwards it to the cloud.
///
/// Not for active patient monitoring: the device's own alarm stays the primary one.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Form of the log; without it `run` writes JSON where standard error is no terminal
    #[arg(long, global = true, value_enum, value_name = "FORM")]
    log: Option<logs::Form>,
}

const EXAMPLES: &str = "\
Examples:
  wardgate plugin new pump --link serial       a new plugin, which builds and passes its tests
  wardgate plugin build plugins/ivy450c        build a plugin's source for a gateway of one's own
  wardgate plugin inspect FILE.wardgate        who made a package, what it asks for, and whether it would run here
  wardgate check --config gateway.toml         is the configuration right, and what may each plugin reach?
  wardgate run --config gateway.toml           run the gateway; SIGTERM stops it cleanly
  wardgate status --config gateway.toml        ask the running gateway how it is
  wardgate gaps --config gateway.toml          what will not come, and why
  wardgate bind list --config gateway.toml     who stands at which bed, and whose values wait for a person
  wardgate ble scan --config gateway.toml      which Bluetooth peripherals are near, and whose they are
  wardgate reload --config gateway.toml        take over a changed configuration without stopping what did not change

Exit codes: 0 well, 1 a fault of ours, 2 wrong usage, 3 configuration, 4 plugin, 5 store or disk, 6 port or address, 7 uplink credentials.
`run` starts beside a package that does not come to run and shows it as withheld; `check` gives 4 for it.
Logs go to standard error; RUST_LOG=wardgate=debug shows more.";

#[derive(Subcommand)]
enum Verb {
    /// Run the gateway
    Run(cli::run::Run),
    /// Read the configuration and say in plain words what each instance may reach
    Check(cli::check::Check),
    /// Ask the running gateway how it is
    Status(cli::status::Status),
    /// Ask the running gateway what will not come, and why
    Gaps(cli::gaps::Gaps),
    /// Let the running gateway read its configuration anew
    Reload(cli::reload::Reload),
    /// Say which device stands at which bed
    Bind(cli::bind::Bind),
    /// Find, pair, list and forget Bluetooth peripherals
    Ble(cli::ble::Ble),
    /// Restart one instance of the running gateway
    Instance(cli::instance::Instance),
    /// Give one instance a command, and print its answer
    Command(cli::command::Command),
    /// Make plugins; look at packages, and take them in
    Plugin(cli::plugin::Plugin),
    /// Say which plugins, and which gateway, a crate is in
    Sbom(cli::sbom::Sbom),
    /// Compare, approve and sign what plugins may reach
    Grant(cli::grant::Grant),
    /// Prove and show the log of who installed, granted, revoked or bound what
    Audit(cli::audit::Audit),
    /// Say for a whole fleet whom it trusts, and take that back
    Trust(cli::elsewhere::Words),
}

/// A verb whose reader has gone (`| head`) ends as any program does, with no word of a panic.
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
    // the gateway's own child, which compiles one component under resource limits: no verb for people
    let words: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some((_, rest)) = words.split_first().filter(|(verb, _)| *verb == Compiler::VERB) {
        return wardgate::plugin::child_main(rest);
    }
    let arguments = Arguments::parse();
    let form = logs::begin(arguments.log, matches!(arguments.verb, Verb::Run(_)));
    end_with_the_reader();
    let done = match &arguments.verb {
        Verb::Run(run) => cli::run::run(run),
        Verb::Check(check) => cli::check::run(check),
        Verb::Status(status) => cli::status::run(status),
        Verb::Gaps(gaps) => cli::gaps::run(gaps),
        Verb::Reload(reload) => cli::reload::run(reload),
        Verb::Bind(bind) => cli::bind::run(bind),
        Verb::Ble(ble) => cli::ble::run(ble),
        Verb::Instance(instance) => cli::instance::run(instance),
        Verb::Command(command) => cli::command::run(command),
        Verb::Plugin(plugin) => cli::plugin::run(plugin),
        Verb::Sbom(sbom) => cli::sbom::run(sbom),
        Verb::Grant(grant) => cli::grant::run(grant),
        Verb::Audit(audit) => cli::audit::run(audit),
        Verb::Trust(words) => cli::elsewhere::run(&["trust"], words),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            match form {
                logs::Form::Text => eprintln!("wardgate: {fault}"),
                logs::Form::Json => tracing::error!(remedy = fault.remedy, "{}", fault.what),
            }
            ExitCode::from(fault.guilty.exit_code())
        }
    }
}
