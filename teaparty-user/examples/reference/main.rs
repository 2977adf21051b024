//! Prints the reference of the book, made of what the program itself knows: one JSON object, from each page's name to its
//! text. `cargo xtask codegen` writes it to `docs/reference/`.

mod btf;
mod command_line;
mod configuration;
mod json_keys;
mod maps;
mod markdown;
mod metrics;
mod rest;
mod tables;

use serde_json::{Map, Value};

fn main() -> anyhow::Result<()> {
    let mut pages = Map::new();
    let mut add = |name: &str, text: String| pages.insert(name.to_owned(), Value::String(text));
    add("command-line.md", command_line::page());
    add("configuration.md", configuration::page());
    add("reasons.md", tables::reasons());
    add("metrics.md", metrics::page()?);
    add("exit-status.md", tables::exit_status());
    add("json.md", json_keys::page()?);
    add("rest.md", rest::page());
    // Without an object, as on a machine without the eBPF toolchain, this page stays as it is.
    if let Ok(object) = teaparty_user::reflector::kernel::object::object() {
        add("maps.md", maps::page(&object)?);
    }
    println!("{}", serde_json::to_string_pretty(&pages)?);
    Ok(())
}
