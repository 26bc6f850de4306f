//! Configure, run, drain.

use std::process::ExitCode;

use operator::config::{self, Config, Log, LogFormat, Request};
use operator::{Error, run};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let request = match config::from_command_line(std::env::args_os()) {
        Ok(request) => request,
        Err(error) => {
            log(&Log {
                level: "info".to_owned(),
                format: LogFormat::Text,
            });
            return fail(&error);
        }
    };
    let (Request::Run(config) | Request::Cleanup(config)) = &request;
    log(&config.log);
    if !config.unknown.is_empty() {
        warn!(
            keys = config.unknown.join(" "),
            "configuration keys that are not used"
        );
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Error::Runtime(error)),
    };
    let end = match request {
        Request::Run(config) => runtime.block_on(serve(*config)),
        Request::Cleanup(config) => runtime.block_on(operator::clean(&config.connect)).map(drop),
    };
    end.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
}

async fn serve(config: Config) -> Result<(), Error> {
    info!(version = env!("CARGO_PKG_VERSION"), questions = ?config.questions, "starts");
    let (stop_sender, stop) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Runtime)?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop_sender.send_replace(true);
        // A second signal ends the process as if nobody listened.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(1);
    });
    run(config, stop).await
}

/// One line per event on standard error. What the client says of its requests is told once, by whoever asked.
fn log(log: &Log) {
    let directives = format!(
        "{},kube_client=off,kube_runtime=off,hyper=error,tower=error",
        log.level
    );
    let filter = EnvFilter::builder().parse_lossy(directives);
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false);
    match log.format {
        LogFormat::Text => subscriber.with_ansi(false).init(),
        LogFormat::Json => subscriber.json().init(),
    }
}

fn fail(error: &Error) -> ExitCode {
    error!("{}", cluster::causes(error));
    ExitCode::FAILURE
}
