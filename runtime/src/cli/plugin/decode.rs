//! `wardgate plugin decode`: from given bytes to readings, in the real sandbox, without a device.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;

use super::{admitted, refused, terminal};
use crate::config::{Link, setting_in_words};
use crate::contract::types::Fact;
use crate::fault::{Fault, Guilty};
use crate::plugin::Package;
use crate::plugin::trial::{self, Input, Lines, Script, reply, uuid};

const EXAMPLES: &str = "\
Examples:
  wardgate plugin decode . --hex '54 3d 33 36 2e 35 0a'          bytes of a serial line; once for each piece, a second apart
  wardgate plugin decode . --reply 00E8,0190 --reply timeout     answers to the plugin's Modbus requests, in their order
  wardgate plugin decode . --characteristic 2A1C --hex 006d0100ff   a Bluetooth LE notification
  wardgate plugin decode target/packages/pump-1.0.0 --setting unit=kPa --hex 0102
  wardgate plugin decode modbus-map-0.1.0.wardgate --setting 'map={ shipped = \"smc-hrs\" }' --reply 00E8

A reply is register words in hexadecimal (00E8,0190), bits:1011, written, exception:2, timeout or link-down.

Time is virtual. The plugin is opened, its link comes up, and every timer falls due at once in its order: before each --hex a second
passes; for replies time goes on until each was asked for, and stops there; behind Bluetooth LE values it goes on for 150 s, for what
waits for something that belongs to it. A characteristic that the plugin reads answers with the first --hex that was given for it;
the others are notifications. What it writes, subscribes to or wants durable is answered well at once. Nothing of this touches a device.

Standard output has one JSON line for each reading, block of samples, alert or gap. A reading has channel, unit, quality and one of
mantissa with exponent, absent, text, code, bits, octets; samples have channel, first, counts: all exactly as the plugin said it. What
it asked, logged and reported stands on standard error.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Decode {
    /// The plugin's folder (built first), or a package: a file, or a folder that was built
    #[arg(value_name = "DIR|PACKAGE", default_value = ".")]
    folder: PathBuf,
    /// Bytes in hexadecimal; spaces are for people
    #[arg(long, value_name = "BYTES")]
    hex: Vec<String>,
    /// The answer to the next Modbus request
    #[arg(long, value_name = "ANSWER", conflicts_with_all = ["hex", "characteristic"])]
    reply: Vec<String>,
    /// The characteristic that notifies: one for all --hex, or one for each
    #[arg(long, value_name = "UUID", requires = "hex")]
    characteristic: Vec<String>,
    /// A setting of the instance, as often as needed; in braces as in gateway.toml: { file = "..." } or { shipped = "..." }
    #[arg(long, value_name = "NAME=VALUE")]
    setting: Vec<String>,
}

pub fn run(args: &Decode) -> Result<(), Fault> {
    let inputs = inputs(args).map_err(|why| Fault::new(Guilty::Usage, why, "`wardgate plugin decode --help` has examples"))?;
    let package = admitted(&args.folder)?;
    fits(args, &package.manifest.links)?;
    let settings = settings(&args.setting, &package)?;
    let plugin = trial::ready(&package).map_err(refused)?;
    let lines = Script { settings, inputs }.run(&plugin);
    tell(&lines, &mut io::stdout().lock()).map_err(terminal)?;
    match lines.broken {
        None => Ok(()),
        Some(why) => Err(Fault::new(Guilty::Plugin, format!("{} {why}", plugin.manifest.full_name()), "")),
    }
}

fn settings(words: &[String], package: &Package) -> Result<Vec<Fact>, Fault> {
    let one = |words: &String| setting_in_words(words, &package.manifest, &package.shipped).map(|(name, value)| Fact { name, value });
    let wrong = |(what, remedy)| Fault::new(Guilty::Usage, format!("--setting {what}"), remedy);
    words.iter().map(one).collect::<Result<_, _>>().map_err(wrong)
}

fn inputs(args: &Decode) -> Result<Vec<Input>, String> {
    let mut inputs = Vec::new();
    match args.characteristic.as_slice() {
        [] => inputs.extend(args.hex.iter().map(|hex| Input::serial(hex)).collect::<Result<Vec<_>, _>>()?),
        names if names.len() == 1 || names.len() == args.hex.len() => {
            for (hex, name) in args.hex.iter().zip(names.iter().cycle()) {
                inputs.push(Input::notified(uuid(name)?, hex)?);
            }
        }
        names => return Err(format!("{} --characteristic for {} --hex: give one for all, or one for each", names.len(), args.hex.len())),
    }
    for answer in &args.reply {
        inputs.push(Input::Reply(reply(answer)?));
    }
    if inputs.is_empty() {
        return Err("there is nothing to decode: give --hex or --reply".into());
    }
    Ok(inputs)
}

/// Bytes for a link that the plugin does not hear would be lost in silence.
fn fits(args: &Decode, links: &std::collections::BTreeSet<Link>) -> Result<(), Fault> {
    let (given, link) = match (args.reply.is_empty(), args.characteristic.is_empty()) {
        (false, _) => ("--reply", Link::Modbus),
        (_, false) => ("--characteristic", Link::Ble),
        _ => ("--hex alone", Link::Serial),
    };
    if links.contains(&link) {
        return Ok(());
    }
    let heard: Vec<_> = links.iter().map(|link| link.name()).collect();
    let heard = if heard.is_empty() { "no device".into() } else { heard.join(" and ") };
    let remedy = match (links.first(), given) {
        (None, _) => "what a filter hears is in its golden cases: `wardgate plugin test`",
        (Some(Link::Ble), "--hex alone") => "add --characteristic UUID",
        (Some(Link::Ble), _) => "give --characteristic UUID --hex BYTES instead",
        (Some(Link::Modbus), _) => "give --reply instead, with the registers that the device answers",
        (Some(Link::Serial), _) => "give --hex alone",
    };
    Err(Fault::new(Guilty::Usage, format!("{given} is for {link}, and this plugin hears {heard}"), remedy))
}

fn tell(lines: &Lines, out: &mut impl Write) -> io::Result<()> {
    for line in &lines.readings {
        writeln!(out, "{line}")?;
    }
    for remark in &lines.remarks {
        writeln!(io::stderr(), "{remark}")?;
    }
    if lines.readings.is_empty() && lines.broken.is_none() && !lines.explained {
        writeln!(io::stderr(), "no reading came of that: is the message whole, with what ends it?")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Door {
        #[command(flatten)]
        decode: Decode,
    }

    #[test]
    fn bytes_for_another_link_are_refused_with_what_to_give_instead() {
        let refused = |words: &str, link: Option<Link>| {
            let args = Door::parse_from(["decode"].into_iter().chain(words.split(' '))).decode;
            fits(&args, &link.into_iter().collect()).expect_err("it is for another link").remedy
        };
        assert_eq!(refused("--hex 00", Some(Link::Ble)), "add --characteristic UUID");
        assert!(refused("--reply 0001", Some(Link::Ble)).starts_with("give --characteristic UUID --hex"));
        assert!(refused("--hex 00", Some(Link::Modbus)).starts_with("give --reply"));
        assert_eq!(refused("--characteristic 2A1C --hex 00", Some(Link::Serial)), "give --hex alone");
        assert!(refused("--hex 00", None).contains("golden"));
    }
}
