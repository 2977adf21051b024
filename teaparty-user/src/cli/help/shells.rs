//! Completions for shells: of options, and of values where a shell can know them: interfaces, DSCP and TLV names.

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command};
use clap_complete::{Shell, generate};
use teaparty_common::tlv::REGISTRY;
use teaparty_common::wire::Dscp;

/// Stands for the interfaces of the host until the script is done.
const INTERFACES: &str = "TEAPARTY_INTERFACES";

/// Returns the script for a shell.
pub fn script(command: Command, shell: Shell) -> String {
    let mut command = with_values(command);
    let mut script = Vec::new();
    generate(shell, &mut command, "teaparty", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    match shell {
        Shell::Bash => with_chain(script.replace(INTERFACES, "$(command ls /sys/class/net 2>/dev/null)")),
        Shell::Zsh => script.replace(&format!("({INTERFACES})"), "_net_interfaces"),
        Shell::Fish => script.replace(&format!("\"{INTERFACES}\\t''\""), "\"(command ls /sys/class/net)\""),
        _ => script,
    }
}

/// Adds to bash's script that a TLV may follow each `--` of `tlvs TLV -- TLV`, which clap knows as words of any kind.
fn with_chain(script: String) -> String {
    // As clap_complete names `sender tlvs` in its script.
    let tlvs = "teaparty__subcmd__sender__subcmd__tlvs";
    let end = "            *)\n                ;;\n        esac\n    done\n";
    let case = format!("            {tlvs}*,--)\n                cmd=\"{tlvs}\"\n                ;;\n{end}");
    script.replacen(end, &case, 1)
}

/// The command with the values of its options, for completion alone: it takes no others.
fn with_values(command: Command) -> Command {
    let ids: Vec<_> = command.get_arguments().map(|arg| arg.get_id().clone()).collect();
    let command = ids.into_iter().fold(command, |command, id| {
        command.mut_arg(id, |arg| match values(&arg) {
            Some(values) => arg.value_parser(PossibleValuesParser::new(values)),
            None => arg,
        })
    });
    let names: Vec<String> = command.get_subcommands().map(|inner| inner.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_values))
}

fn values(arg: &Arg) -> Option<Vec<&'static str>> {
    let dscps = || Dscp::NAMED.iter().map(|(name, _)| *name);
    match arg.get_long()? {
        "iface" | "interface" => Some(vec![INTERFACES]),
        "dscp" => Some(dscps().collect()),
        "deny-dscp" => Some(["all", "none"].into_iter().chain(dscps()).collect()),
        "code-point" | "tlv-code" => {
            let experimental = REGISTRY.iter().filter(|entry| entry.is_experimental());
            // clap wants text that lives as long as the process; it prints the script and ends.
            Some(experimental.map(|entry| &*format!("{}={}", entry.name, entry.code).leak()).collect())
        }
        _ => None,
    }
}
