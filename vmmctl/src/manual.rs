//! The manual page and the shells' completions, both made from the command line's own description.

use std::io::Write;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::{Cli, Failure};

/// Prints the manual page in roff.
pub(crate) fn page(out: &mut dyn Write) -> Result<u8, Failure> {
    let command = Cli::command();
    let page = clap_mangen::Man::new(command.clone()).section("8");
    page.render(out)?;
    for subcommand in command.get_subcommands().filter(|subcommand| subcommand.get_name() != "help") {
        let name = format!("vmmctl {}", subcommand.get_name());
        let page = clap_mangen::Man::new(subcommand.clone().bin_name(name.clone()).display_name(name));
        writeln!(out, ".SH \"{}\"", subcommand.get_name().to_uppercase())?;
        if let Some(about) = subcommand.get_about() {
            writeln!(out, "{about}")?;
        }
        page.render_options_section(out)?;
    }
    Ok(0)
}

/// Prints a shell's completions.
pub(crate) fn completions(shell: Shell, out: &mut dyn Write) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "vmmctl", &mut script);
    out.write_all(&script)?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manual_page_has_every_command_and_every_exit_code() {
        let mut text = Vec::new();
        page(&mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        for part in
            ["START", "STOP", "RESTART", "STATUS", "CHECK", "\\-\\-memory", "Plinth could not be stopped"]
        {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn completions_know_the_options() {
        let mut text = Vec::new();
        completions(Shell::Bash, &mut text).unwrap();
        assert!(String::from_utf8(text).unwrap().contains("--log-level"));
    }
}
