//! `tombolo-agent`: configure, run, drain.

use std::process::ExitCode;

use agent::config::{Config, LogFormat};
use tracing::{Level, error, warn};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let config = match Config::load() {
        Ok(config) => config,
        Err(problem) => {
            log(Level::INFO, LogFormat::Text);
            error!("{}", cluster::causes(&problem));
            return ExitCode::from(2);
        }
    };
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
