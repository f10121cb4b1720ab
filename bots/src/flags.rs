//! What command lines have in common.

use clap::Command;

/// The command, and those below it, with negative numbers as values: so that who is given one says which it takes, and not that
/// it knows no such argument.
#[must_use]
pub fn negative(command: Command) -> Command {
    let command = command.mut_args(|arg| {
        let takes = arg.get_action().takes_values();
        arg.allow_negative_numbers(takes)
    });
    command.mut_subcommands(negative)
}
