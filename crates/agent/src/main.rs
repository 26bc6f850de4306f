//! `tombolo-agent`: configure, run, drain. Or `tombolo-agent cleanup`.

#![expect(
    clippy::print_stdout,
    reason = "cleanup says what it did to whoever called it"
)]

use std::process::ExitCode;

use agent::cleanup;
use agent::config::{Config, Invocation, LogFormat};
use tracing::{Level, error, warn};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    match Invocation::load() {
        Ok(Invocation::Run(config)) => run(*config),
        Ok(Invocation::Cleanup(arguments)) => {
            log(Level::INFO, LogFormat::Text);
            let outcome = cleanup::run(&arguments);
            conclude(outcome.map(|outcome| print!("{outcome}")))
        }
        Err(problem) => {
            log(Level::INFO, LogFormat::Text);
            error!("{}", cluster::causes(&problem));
            ExitCode::from(2)
        }
    }
}

fn run(config: Config) -> ExitCode {
    log(config.log_level, config.log_format);
    if !config.unknown.is_empty() {
        warn!(
            keys = config.unknown.join(" "),
            "configuration keys that are not used"
        );
    }
    // One thread: the work is small and bursty, and a worker per core would cost each node memory for nothing.
    let end = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime.block_on(agent::run(config)),
        Err(problem) => Err(agent::Error::Runtime(problem)),
    };
    conclude(end)
}

fn conclude(end: Result<(), agent::Error>) -> ExitCode {
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            error!("{}", cluster::causes(&problem));
            ExitCode::FAILURE
        }
    }
}

/// One line per event on standard error. What the client says of its requests is told once, by whoever asked.
fn log(level: Level, format: LogFormat) {
    let directives = format!("{level},kube_client=off,kube_runtime=off,hyper=error,tower=error");
    let filter = EnvFilter::builder().parse_lossy(directives);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    match format {
        LogFormat::Text => subscriber.with_ansi(false).init(),
        LogFormat::Json => subscriber.json().init(),
    }
}
