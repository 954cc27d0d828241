//! Flags to configuration to server, nothing else.

use clap::Parser;
use fencepost::base::Clock;
use fencepost::command::settings;
use fencepost::config::{Action, Cli, Config, ServeArgs};
use fencepost::recovery::{Charset, tools};
use fencepost::server::{self, Options};
use fencepost::store::salvage;
use std::error::Error;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, reload};

fn main() -> ExitCode {
    let done = match Cli::parse().into_action() {
        Action::Serve(args) => serve(&args),
        Action::Settings => Ok(list_settings()),
        Action::PoolInfo { path, map } => pool_info(&path, map),
        Action::PoolCheck(path) => pool_check(&path),
        Action::PoolSalvage(source, destination) => Ok(pool_salvage(&source, &destination)),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fencepost: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &ServeArgs) -> Result<ExitCode, Box<dyn Error>> {
    let config = Config::load(args)?;
    let set_log_level = start_log(&config.text("loglevel"));
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let clock = Clock::system();
    let store = config.store_options(clock.now_ms())?;
    server::run(Options { settings: config.settings, config_file: config.file, clock, store, set_log_level })?;
    Ok(ExitCode::SUCCESS)
}

/// Logs to standard error at the level that `loglevel` names; `RUST_LOG` overrides it. Returns what changes the level.
fn start_log(level: &str) -> Box<dyn Fn(&str)> {
    let given = EnvFilter::try_from_default_env().ok();
    let is_given = given.is_some();
    let (filter, handle) = reload::Layer::new(given.unwrap_or_else(|| filter_for(level)));
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).with_target(false);
    tracing_subscriber::registry().with(filter).with(lines).init();
    Box::new(move |level| {
        if !is_given {
            // Fails only when there is no log any more.
            let _ = handle.reload(filter_for(level));
        }
    })
}

fn filter_for(level: &str) -> EnvFilter {
    EnvFilter::new(match level {
        "debug" => "trace",
        "verbose" => "debug",
        "warning" => "warn",
        "nothing" => "off",
        _ => "info",
    })
}

/// Prints what CONFIG knows, as a table in Markdown.
fn list_settings() -> ExitCode {
    print!("{}", settings::describe());
    ExitCode::SUCCESS
}

fn pool_info(path: &Path, map: bool) -> Result<ExitCode, Box<dyn Error>> {
    let charset = if is_utf8_terminal() { Charset::Utf8 } else { Charset::Ascii };
    print!("{}", tools::info(path, map.then_some(charset))?);
    Ok(ExitCode::SUCCESS)
}

/// Whether standard output is a terminal that shows UTF-8, as far as its locale says.
fn is_utf8_terminal() -> bool {
    let mut locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(|name| std::env::var(name).ok());
    let locale = locale.find(|value| !value.is_empty()).unwrap_or_default().to_ascii_lowercase();
    io::stdout().is_terminal() && (locale.contains("utf-8") || locale.contains("utf8"))
}

/// Prints every damaged place; the exit status says whether there is any.
fn pool_check(path: &Path) -> Result<ExitCode, Box<dyn Error>> {
    let check = tools::check(path)?;
    for line in &check.damage {
        println!("damage: {line}");
    }
    for line in &check.remarks {
        println!("remark: {line}");
    }
    println!("{}", check.summary);
    Ok(if check.damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints what is lost and what is saved. Status 0: nothing is lost; 1: something is; 2: nothing could be saved.
fn pool_salvage(source: &Path, destination: &Path) -> ExitCode {
    let report = match salvage(source, destination, Clock::system().now_ms()) {
        Ok(report) => report,
        Err(error) => {
            eprintln!("fencepost: {error}");
            return ExitCode::from(2);
        }
    };
    for line in &report.damage {
        println!("damage: {line}");
    }
    for line in &report.hit {
        println!("key: {line}");
    }
    for line in &report.remarks {
        println!("remark: {line}");
    }
    println!("{} keys saved to {}; {}", report.keys, destination.display(), report.verdict());
    if report.lost_something() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
