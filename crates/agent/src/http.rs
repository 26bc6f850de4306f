//! Health, readiness and metrics over HTTP.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::Error;
use crate::metrics::Metrics;
use crate::observe::{Datapath, Report};

/// Binds before anything else starts: a taken port is an error of the start, not of some later moment.
pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Error::Serve { address, source })
}

/// Serves `/healthz` and `/readyz`. Liveness says that the process turns, nothing more: it must not depend on the
/// API server or on a router. Readiness waits for the first plan, for the load balancer where there is one, and for the
/// first End-of-RIB of the sessions that are up, and names what is pending.
pub(crate) async fn serve_health(
    listener: TcpListener,
    reports: watch::Receiver<Report>,
    datapath: Option<watch::Receiver<Datapath>>,
) {
    let router = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .with_state((reports, datapath));
    serve(listener, router).await;
}

/// Serves `/metrics` in OpenMetrics text.
pub(crate) async fn serve_metrics(listener: TcpListener, metrics: Metrics) {
    let router = Router::new()
        .route("/metrics", get(scrape))
        .with_state(metrics);
    serve(listener, router).await;
}

async fn serve(listener: TcpListener, router: Router) {
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "HTTP endpoint ended");
    }
}

type Watched = (watch::Receiver<Report>, Option<watch::Receiver<Datapath>>);

async fn ready(State((reports, datapath)): State<Watched>) -> impl IntoResponse {
    let mut pending = pending(&reports.borrow());
    pending.extend(datapath.and_then(|datapath| datapath.borrow().pending()));
    if pending.is_empty() {
        (StatusCode::OK, "ok\n".to_owned())
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("pending:\n{}\n", pending.join("\n")),
        )
    }
}

fn pending(report: &Report) -> Vec<String> {
    if !report.configured {
        return vec!["first plan: waiting for the API server".to_owned()];
    }
    let unfinished = report
        .peers
        .iter()
        .filter(|(_, peer)| peer.established_at.is_some() && !peer.end_of_rib_sent);
    unfinished
        .map(|((instance, peer), _)| format!("{instance}: peer {peer}: End-of-RIB not sent yet"))
        .collect()
}

async fn scrape(State(metrics): State<Metrics>) -> impl IntoResponse {
    const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    match metrics.encode() {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, OPEN_METRICS)], text),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            [(header::CONTENT_TYPE, "text/plain")],
            error.to_string(),
        ),
    }
}
