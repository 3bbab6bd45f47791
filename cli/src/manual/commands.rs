//! A page of section 1 for each command, from the definition of the command line.

use super::page::{Page, prose, verbatim};
use crate::commands::CommandLine;
use clap::builder::PossibleValue;
use clap::{Arg, Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// In the section NAME of wasm-sock(1); its description says more.
const ABOUT: &str = "inetd for WebAssembly";

/// All pages, first wasm-sock(1).
pub fn pages() -> Vec<Page> {
    let command = CommandLine::command();
    let description = command.get_about().cloned().unwrap_or_default();
    let mut command = command
        .about(ABOUT)
        .long_about(description)
        .subcommand_help_heading("COMMANDS");
    command.build();
    let mut pages = Vec::new();
    add(&command, &mut pages);
    pages
}

/// Adds the page of `command`, and those of its own commands.
fn add(command: &Command, pages: &mut Vec<Page>) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    pages.push(Page::new(name, 1, text(command)));
    for command in command.get_subcommands().filter(|command| !command.is_hide_set()) {
        add(command, pages);
    }
}

fn text(command: &Command) -> String {
    let notes = Notes::of(command);
    let man = Man::new(command.clone().mut_args(with_values));
    let mut text = Vec::new();
    // Writing to memory does not fail.
    let _ = man.render_name_section(&mut text);
    let _ = man.render_synopsis_section(&mut text);
    let _ = man.render_description_section(&mut text);
    let mut more = Roff::new();
    for paragraph in &notes.description {
        more.control("PP", []).text(prose(paragraph));
    }
    let _ = more.to_writer(&mut text);
    let _ = man.render_options_section(&mut text);
    if command.get_subcommands().any(|command| !command.is_hide_set()) {
        let _ = man.render_subcommands_section(&mut text);
    }
    let mut end = Roff::new();
    if let Some(codes) = &notes.exit_codes {
        end.control("SH", ["EXIT STATUS"]).text(prose(codes));
    }
    if !notes.examples.is_empty() {
        end.control("SH", ["EXAMPLES"]);
        verbatim(&mut end, notes.examples.iter().map(String::as_str));
    }
    end.control("SH", ["SEE ALSO"]);
    end.text(see_also(command));
    let _ = end.to_writer(&mut text);
    bold_between_backticks(&String::from_utf8_lossy(&text))
}

/// Words that an argument takes are told in its line: clap_mangen's list of them is not valid for mandoc.
fn with_values(argument: Arg) -> Arg {
    let values = argument.get_possible_values();
    if argument.is_hide_possible_values_set() || values.is_empty() || !argument.get_action().takes_values() {
        return argument;
    }
    let names: Vec<&str> = values.iter().map(PossibleValue::get_name).collect();
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    argument
        .help(format!("{help} ({})", names.join(", ")))
        .hide_possible_values(true)
}

/// What clap knows as text has names of commands between backticks.
fn bold_between_backticks(text: &str) -> String {
    let mut bold = String::new();
    for line in text.lines() {
        let parts: Vec<&str> = line.split('`').collect();
        match parts.len() % 2 {
            1 => {
                for (index, part) in parts.iter().enumerate() {
                    let pieces = if index % 2 == 1 {
                        ["\\fB", part, "\\fR"]
                    } else {
                        ["", part, ""]
                    };
                    bold.extend(pieces);
                }
            }
            _ => bold.push_str(line),
        }
        bold.push('\n');
    }
    bold
}

/// What the help of a command has after its options: paragraphs, of which some have a title.
#[derive(Default)]
struct Notes {
    description: Vec<String>,
    exit_codes: Option<String>,
    examples: Vec<String>,
}

impl Notes {
    fn of(command: &Command) -> Self {
        let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let mut notes = Self::default();
        for paragraph in text.split("\n\n") {
            let lines = paragraph.lines().map(str::trim);
            if let Some(examples) = paragraph.strip_prefix("Examples:\n") {
                notes
                    .examples
                    .extend(examples.lines().map(|line| line.trim().to_owned()));
            } else if let Some(codes) = paragraph.strip_prefix("Exit codes: ") {
                notes.exit_codes = Some(codes.to_owned());
            } else if !paragraph.trim().is_empty() {
                notes.description.push(lines.collect::<Vec<_>>().join(" "));
            }
        }
        notes
    }
}

/// `wasm-sock`(1), and the pages of the other sections.
fn see_also(command: &Command) -> Vec<clap_mangen::roff::Inline> {
    let mut pages = match command.get_display_name() {
        Some(name) if name != "wasm-sock" => vec![bold("wasm-sock"), roman("(1), ")],
        _ => Vec::new(),
    };
    pages.extend(prose("`wasm-sock.toml`(5), `wasm-sock`(7)"));
    pages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_options_is_sorted_into_sections() {
        let command =
            Command::new("x").after_help("One\nparagraph.\n\nExit codes: 0 fine.\n\nExamples:\n  x 1\n  x 2");
        let notes = Notes::of(&command);
        assert_eq!(notes.description, ["One paragraph."]);
        assert_eq!(notes.exit_codes.as_deref(), Some("0 fine."));
        assert_eq!(notes.examples, ["x 1", "x 2"]);
    }

    #[test]
    fn each_visible_command_has_a_page_and_each_example_is_in_it() {
        let pages = pages();
        let names: Vec<String> = pages.iter().map(Page::file_name).collect();
        for name in [
            "wasm-sock.1",
            "wasm-sock-host.1",
            "wasm-sock-kv-get.1",
            "wasm-sock-version.1",
        ] {
            assert!(names.iter().any(|page| page == name), "{name}: {names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("activate")), "{names:?}");
    }
}
