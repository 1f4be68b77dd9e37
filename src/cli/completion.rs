//! What a shell completes: the command line, with the cloud's products, actions and parameters as the table has them.

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, ValueEnum, ValueHint};
use clap_complete::CompleteEnv;
use clap_complete::env::Shells;

use super::cloud::words;
use super::output;
use crate::cen::openapi::action::Action;
use crate::cen::openapi::parameter::{Kind, Parameter, Presence};
use crate::cen::openapi::reference;
use crate::cen::openapi::region::REGIONS;
use crate::io::openapi_client::Product;

/// The variable by which a shell asks for completions, with its name. Our own, as others call theirs `COMPLETE`.
const VARIABLE: &str = "_GATEWAYCTL_COMPLETE";

/// A shell that is told how to complete.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

/// Prints what the shell has to read.
pub fn print(shell: Shell) -> Result<(), Box<dyn std::error::Error>> {
    let name = match shell {
        Shell::Bash => "bash",
        Shell::Zsh => "zsh",
        Shell::Fish => "fish",
    };
    let shells = Shells::builtins();
    let known = shells.completer(name).ok_or_else(|| std::io::Error::other(format!("{name} is not known")))?;
    let mut script = Vec::new();
    known.write_registration(VARIABLE, "gatewayctl", "gatewayctl", "gatewayctl", &mut script)?;
    output::print(&String::from_utf8(script)?)?;
    Ok(())
}

/// Where this process was started to complete a command line, as the registered scripts start it (`gatewayctl -- WORD...`),
/// does so and ends the process.
pub fn complete(command: fn() -> Command) {
    let asks = std::env::args_os().nth(1).is_some_and(|word| word == "--");
    let shell = std::env::var(VARIABLE).unwrap_or_default();
    if asks && Shells::builtins().completer(&shell).is_some() {
        CompleteEnv::with_factory(move || with_cloud(command())).var(VARIABLE).complete();
    }
}

/// The command line as it is completed: what `cloud` reads as words are commands and options here.
pub fn with_cloud(command: Command) -> Command {
    command.mut_subcommand("cloud", |cloud| {
        Product::ALL.iter().fold(cloud, |cloud, &(product, name)| {
            let actions = reference::actions(product.version()).map(of_action);
            cloud.subcommand(Command::new(name).disable_help_subcommand(true).subcommands(actions))
        })
    })
}

fn of_action(action: &'static Action) -> Command {
    let rows = reference::all_fields("", action.parameters);
    // A structure is written by its fields, but a JSON object as a whole.
    let objects: Vec<String> =
        rows.iter().filter(|(_, row)| matches!(row.kind, Kind::Json(_))).map(|(name, _)| format!("{name}.")).collect();
    let written = |(name, row): &(String, &Parameter)| {
        row.presence != Presence::Refused
            && !matches!(row.kind, Kind::Structure(_) | Kind::Structures(..))
            && !objects.iter().any(|object| name.starts_with(object))
    };
    // The options for all commands stand before the product: what has their names here keeps them out.
    let kept_out = ["socket", "json"].map(|name| Arg::new(name).hide(true).value_hint(ValueHint::Other));
    let rows = rows.into_iter().filter(written).map(|(name, row)| of_row(&name, row));
    Command::new(action.name).disable_help_flag(true).args(kept_out).args(rows)
}

fn of_row(name: &str, row: &Parameter) -> Arg {
    let name = name.replace(".N", ".1");
    let arg = Arg::new(name.clone()).long(name).help(words::about(row)).value_hint(ValueHint::Other);
    match row.kind {
        Kind::Word(words) | Kind::Offered(words, _) => {
            arg.value_parser(PossibleValuesParser::new(words.iter().copied()))
        }
        Kind::Boolean => arg.value_parser(PossibleValuesParser::new(["true", "false"])),
        Kind::Always(side) => arg.value_parser(PossibleValuesParser::new([side.to_string()])),
        Kind::RegionId => arg.value_parser(PossibleValuesParser::new(REGIONS.iter().map(|region| region.id))),
        _ => arg,
    }
}
