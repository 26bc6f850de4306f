//! Health, readiness and metrics over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use cluster::Freshness;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::info;

use crate::Error;
use crate::lease::Leadership;
use crate::metrics::Metrics;

#[derive(Clone)]
struct Sources {
    freshness: watch::Receiver<Freshness>,
    leadership: watch::Receiver<Leadership>,
    metrics: Arc<Metrics>,
}

/// Serves `/healthz` (the process answers), `/readyz` (every kind is listed and watched; else what is missing) and
/// `/metrics` on each address, until the result is dropped. An address without a host means all.
///
/// # Errors
///
/// When an address cannot be listened on.
pub async fn serve(
    addresses: &[String],
    freshness: watch::Receiver<Freshness>,
    leadership: watch::Receiver<Leadership>,
    metrics: Arc<Metrics>,
) -> Result<JoinSet<()>, Error> {
    let sources = Sources {
        freshness,
        leadership,
        metrics,
    };
    let mut servers = JoinSet::new();
    for address in addresses {
        let listener = listen(address).await.map_err(|source| Error::Listen {
            address: address.clone(),
            source,
        })?;
        info!(
            address = listener
                .local_addr()
                .map_or_else(|_| address.clone(), |at| at.to_string()),
            "listens"
        );
        let router = Router::new()
            .route("/healthz", get(|| async { "ok" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(encode))
            .with_state(sources.clone());
        servers.spawn(async move {
            // Ends with the process: accepting is retried inside.
            let _ = axum::serve(listener, router).await;
        });
    }
    Ok(servers)
}

async fn listen(address: &str) -> std::io::Result<TcpListener> {
    match address.strip_prefix(':') {
        None => TcpListener::bind(address).await,
        Some(port) => match TcpListener::bind(format!("[::]:{port}")).await {
            Ok(listener) => Ok(listener),
            // A kernel without IPv6.
            Err(_) => TcpListener::bind(format!("0.0.0.0:{port}")).await,
        },
    }
}

async fn ready(State(sources): State<Sources>) -> impl IntoResponse {
    let freshness = sources.freshness.borrow().clone();
    let status = if freshness.is_live() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut text = match *sources.leadership.borrow() {
        Leadership::Leader => "leads\n".to_owned(),
        Leadership::Candidate => "does not lead\n".to_owned(),
    };
    for kind in &freshness.unlisted {
        text.push_str(&format!("{kind}: not listed yet\n"));
    }
    for (kind, reason) in &freshness.lost {
        text.push_str(&format!("{kind}: {reason}\n"));
    }
    (status, text)
}

async fn encode(State(sources): State<Sources>) -> impl IntoResponse {
    let lost = sources.freshness.borrow().lost.len();
    sources
        .metrics
        .lost_watches
        .set(i64::try_from(lost).unwrap_or(i64::MAX));
    sources.metrics.leader.set(i64::from(
        *sources.leadership.borrow() == Leadership::Leader,
    ));
    let form = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, form)], sources.metrics.encode())
}
