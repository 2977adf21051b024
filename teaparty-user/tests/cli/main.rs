//! The program as a person at a terminal and a service manager meet it: command line, bad input, configuration files and
//! their reload, completions, screens, the report's page, the unit files, and the manifests for Kubernetes.

mod command_line;
mod completions;
mod config_files;
mod deploy;
mod reload;
mod report_page;
mod screens;
mod service;
