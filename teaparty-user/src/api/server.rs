//! The API on a port or a socket: connections that are slow, idle or many cost little and end by themselves.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::sync::Semaphore;

use super::listen::{Incoming, Listener};

/// Connections at a time; more wait in the kernel.
const MAX_CONNECTIONS: usize = 256;
/// How long a connection may be idle, or take for the handshake of TLS, or for the head of a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(5);
/// How long a connection may last at all: a client that reads slowly shall not keep its place.
const MAX_AGE: Duration = Duration::from_secs(300);
/// Pause after the system could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves for ever; to be aborted, or dropped, in the end.
pub async fn serve(listener: Listener, router: Router) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok(incoming) => {
                let router = router.clone();
                tokio::spawn(async move {
                    let _place = place;
                    // How a client's connection ends is no business of ours.
                    let _ = tokio::time::timeout(MAX_AGE, connection(incoming, router)).await;
                });
            }
            Err(error) => {
                tracing::debug!("the API cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(incoming: Incoming, router: Router) -> Result<(), Box<dyn Error + Send + Sync>> {
    let stream = tokio::time::timeout(HEAD_PATIENCE, incoming.ready()).await??;
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await?;
    Ok(())
}
