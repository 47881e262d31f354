//! The `--help` of every command, as people read it, and the example that each has.

use std::fmt::Write as _;

use clap::{Command, CommandFactory as _};

use super::Cli;

/// The width of the widest help: `max_term_width` of the tree.
const WIDTH: usize = 100;

/// The tree of commands, whose help is as wide on every terminal as in the snapshots.
fn tree() -> Command {
    let mut tree = Cli::command().term_width(WIDTH);
    tree.build();
    tree
}

/// The commands below one, without clap's own `help`.
fn below(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|sub| sub.get_name() != "help")
}

/// Writes the help of a command and of all below it, without spaces at the ends of lines.
fn write(shown: &mut String, command: &Command) {
    writeln!(shown, "━━━ {} --help", command.get_bin_name().unwrap()).unwrap();
    let help = command.clone().render_long_help().to_string();
    help.lines().for_each(|line| writeln!(shown, "{}", line.trim_end()).unwrap());
    shown.push('\n');
    below(command).for_each(|sub| write(shown, sub));
}

#[test]
fn help_says_what_it_said() {
    let tree = tree();
    insta::assert_snapshot!("kmsnotif", tree.clone().render_long_help());
    for command in below(&tree) {
        let mut shown = String::new();
        write(&mut shown, command);
        insta::assert_snapshot!(command.get_name(), shown);
    }
}

#[test]
fn every_command_has_an_example_that_can_be_pasted() {
    fn check(command: &Command, wrong: &mut Vec<String>) {
        if command.has_subcommands() {
            below(command).for_each(|sub| check(sub, wrong));
            return;
        }
        let name = command.get_bin_name().unwrap();
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let example = help.strip_prefix("Example").unwrap_or_default();
        if !example.contains(name) {
            wrong.push(format!("{name} shows no example of itself"));
        }
        let wide = example.lines().filter(|line| line.starts_with("  ") && line.chars().count() > WIDTH);
        wrong.extend(wide.map(|line| format!("{name}: this would be wrapped: {line}")));
    }
    let mut wrong = Vec::new();
    check(&tree(), &mut wrong);
    assert!(wrong.is_empty(), "{wrong:#?}");
}
