//! The API on a port or a socket: connections that are slow, idle or many cost little and end by themselves.

use std::error::Error;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming as Body;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;

use super::connections::{Connection, ConnectionSlot, Connections, NoConnectionSlot, Peer};
use super::listen::{ApiListener, Incoming};

/// Most time for a connection to be idle, for the TLS handshake, or for the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// Most time for a connection: a client that reads slowly shall not keep its place.
const MAX_AGE: Duration = Duration::from_secs(300);
/// Pause after the system could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves forever; to be aborted, or dropped, in the end.
pub async fn serve(listener: ApiListener, router: Router) {
    let connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((incoming, peer)) => {
                if let Some(place) = place(&connections, peer).await {
                    tokio::spawn(serve_one(incoming, router.clone(), place));
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the API cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Waits for a place, where that helps; a connection without one is closed.
async fn place(connections: &Connections, peer: Peer) -> Option<ConnectionSlot> {
    loop {
        match connections.place(peer) {
            Ok(place) => return Some(place),
            Err(NoConnectionSlot::Refused) => return None,
            Err(NoConnectionSlot::After(time)) => tokio::time::sleep(time).await,
        }
    }
}

/// Serves a connection until it ends, has lasted too long, or another one takes its place.
async fn serve_one(incoming: Incoming, router: Router, place: ConnectionSlot) {
    let connection = place.connection.clone();
    tokio::select! {
        // How a client's connection ends does not matter.
        _ = answer(incoming, router, &place) => {}
        () = aged(&connection) => {}
        () = connection.displaced() => {}
    }
}

/// Waits until a connection has lasted too long: forever for one that is kept.
async fn aged(connection: &Connection) {
    tokio::time::sleep(MAX_AGE).await;
    if connection.is_kept() {
        std::future::pending::<()>().await;
    }
}

async fn answer(
    incoming: Incoming,
    router: Router,
    place: &ConnectionSlot,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let stream = tokio::time::timeout(HEADER_TIMEOUT, incoming.ready()).await??;
    let connection = place.connection.clone();
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: Request<Body>| {
        request.extensions_mut().insert(connection.clone());
        router.call(request)
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await?;
    Ok(())
}
