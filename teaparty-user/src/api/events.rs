//! `/api/v1/events`: changes and counters, as they happen (server-sent events).
//!
//! Memory for each client is bounded, and so is their number. A slow client gets a last event about it, and must
//! reconnect; a connection ends after some minutes in any case ([`crate::http::server`]), and clients of this kind come
//! again by themselves.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as Message, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::AppState;
use super::dto::PathId;
use super::openapi_bodies::StreamedEvent;
use super::session_watch::{SessionActivity, Watching};
use crate::http::problem::ApiError;
use crate::reflector::handle::{ChangeEvent, Count, SessionChange};

/// Time from one look at the counters to the next.
const INTERVAL: Duration = Duration::from_secs(1);

/// A session that was changed.
#[derive(Debug, Serialize)]
struct SessionEvent {
    /// Last segment of its path.
    id: String,
    /// The kind of change.
    change: &'static str,
}

/// Sessions that appeared and expired by themselves, too many for one event each.
#[derive(Debug, Serialize)]
struct SessionsEvent {
    /// So many are there that were not a look before.
    created: usize,
    /// So many are not there any more.
    expired: usize,
}

/// Settings that were changed.
#[derive(Debug, Serialize)]
struct SettingsEvent {
    /// Their names.
    settings: Vec<String>,
}

/// Counters that differ from what was told before.
#[derive(Debug, Serialize)]
struct CountersEvent {
    counters: Vec<Count>,
}

/// Events that were dropped because the client did not read them in time. The stream ends.
#[derive(Debug, Serialize)]
struct DroppedEvent {
    missed: u64,
}

/// Streams what is changed and counted, as it happens (server-sent events).
///
/// Events are `session`, `sessions`, `settings`, `counters` (those that differ from what was told before), and
/// `dropped` for a client that reads too slowly, whose stream ends then. A session's events are the changes by the
/// API (`created`, `replaced`, `keys`, `reset`, `deleted`), and within some seconds what happens by itself: a packet
/// made it (`created`), the first packet of a configured one has come (`seen`), it was forgotten or gave its room to
/// another (`expired`). Where more than 256 come and go within a second, `sessions` says only how many. A stream
/// lasts five minutes at most; clients of this kind connect again by themselves.
#[utoipa::path(
    get, path = "/events", tag = "events", operation_id = "stream_events",
    responses(
        (
            status = 200,
            description = "Events for as long as the client listens",
            body = StreamedEvent,
            content_type = "text/event-stream"
        )
    )
)]
pub(crate) async fn stream(State(app): State<AppState>) -> Result<Response, ApiError> {
    let place = app.streams.clone().try_acquire_owned().map_err(|_| ApiError::too_many_streams())?;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (seen, watching) = app.watch.join(&app);
    let listener = EventListener {
        changes: app.reflector.events(),
        seen,
        ticks,
        told: HashMap::new(),
        app,
        _place: place,
        _watching: watching,
    };
    Ok(Sse::new(messages(listener)).keep_alive(KeepAlive::default()).into_response())
}

/// One client.
struct EventListener {
    app: AppState,
    changes: Receiver<ChangeEvent>,
    seen: Receiver<SessionActivity>,
    ticks: Interval,
    /// The counters as the client knows them, by interface, path and reason.
    told: HashMap<(String, &'static str, &'static str), u64>,
    _place: OwnedSemaphorePermit,
    _watching: Arc<Watching>,
}

fn messages(listener: EventListener) -> impl Stream<Item = Result<Message, Infallible>> {
    unfold(Some(listener), |listener| async {
        let mut listener = listener?;
        let (message, goes_on) = listener.next().await?;
        Some((Ok(message), goes_on.then_some(listener)))
    })
}

impl EventListener {
    /// The next message, and whether there are more; `None` where the reflector is at its end.
    async fn next(&mut self) -> Option<(Message, bool)> {
        loop {
            tokio::select! {
                change = self.changes.recv() => {
                    return received(change.map(|event| message(&event)));
                }
                seen = self.seen.recv() => {
                    return received(seen.map(|seen| seen_message(&seen)));
                }
                _ = self.ticks.tick() => {
                    // Where the maps can't be looked at in time, the next tick reports the backlog.
                    let Ok(counters) = self.app.query(|reflector| reflector.counters()).await else { continue };
                    let counters = self.unreported(counters);
                    if !counters.is_empty() {
                        return Some((json("counters", &CountersEvent { counters }), true));
                    }
                }
            }
        }
    }

    /// Those of the counters that the client does not know yet.
    fn unreported(&mut self, counters: Vec<Count>) -> Vec<Count> {
        let told = &mut self.told;
        let is_new = |count: &Count| {
            let key = (count.interface.clone(), count.path.label(), count.reason);
            told.insert(key, count.packets) != Some(count.packets)
        };
        counters.into_iter().filter(is_new).collect()
    }
}

/// A message and whether there are more; `None` at the end of what it comes from.
fn received(message: Result<Message, RecvError>) -> Option<(Message, bool)> {
    match message {
        Ok(message) => Some((message, true)),
        Err(RecvError::Lagged(missed)) => Some((json("dropped", &DroppedEvent { missed }), false)),
        Err(RecvError::Closed) => None,
    }
}

fn seen_message(seen: &SessionActivity) -> Message {
    match seen {
        SessionActivity::One(id, change) => {
            json("session", &SessionEvent { id: PathId(*id).to_string(), change: change.label() })
        }
        SessionActivity::Many { created, expired } => {
            json("sessions", &SessionsEvent { created: *created, expired: *expired })
        }
    }
}

fn message(event: &ChangeEvent) -> Message {
    match event {
        ChangeEvent::Session { id, change } => {
            json("session", &SessionEvent { id: PathId(*id).to_string(), change: change_label(*change) })
        }
        ChangeEvent::Settings(names) => {
            let settings = names.iter().map(|name| name.replace('-', "_")).collect();
            json("settings", &SettingsEvent { settings })
        }
    }
}

fn json(name: &'static str, data: &impl Serialize) -> Message {
    // Types of our own, whose keys are strings: they become JSON.
    Message::default().event(name).json_data(data).unwrap_or_default()
}

const fn change_label(change: SessionChange) -> &'static str {
    match change {
        SessionChange::Created => "created",
        SessionChange::Replaced => "replaced",
        SessionChange::Keys => "keys",
        SessionChange::Reset => "reset",
        SessionChange::Deleted => "deleted",
    }
}
