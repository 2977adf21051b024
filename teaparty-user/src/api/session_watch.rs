//! Sessions that come and go by themselves: made by packets, forgotten when none came for long or others needed the room.
//!
//! The kernel tells nobody of these. So sessions are looked at once a second while somebody listens, or more seldom where a look
//! takes long, and compared with those before: what came and went in between is not told.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::broadcast::{self, Receiver, Sender};
use tokio::task::AbortHandle;

use super::AppState;
use crate::reflector::handle::{ChangeEvent, SessionChange, SessionId};
use crate::sync::locked;

/// Time from one look to the next, at least.
const INTERVAL: Duration = Duration::from_secs(1);
/// Least ratio of the pause after a query to the query.
const PAUSE: u32 = 20;
/// Most sessions of one query that are reported one by one.
const MOST: usize = 256;
/// Events that may wait for a slow listener: two and a half queries.
const WAITING: usize = 640;

/// A change that happened by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SessionActivity {
    /// To one session.
    One(SessionId, SessionTransition),
    /// To many at a time.
    Many {
        /// So many are there now and were not before.
        created: usize,
        /// So many are not there any more.
        expired: usize,
    },
}

/// The change of a session by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SessionTransition {
    /// A packet made it.
    Created,
    /// It was configured before, and its first packet has come.
    Seen,
    /// It was forgotten.
    Expired,
}

impl SessionTransition {
    /// As the stream spells it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Seen => "seen",
            Self::Expired => "expired",
        }
    }
}

/// The one who looks at a reflector's sessions, while there are listeners.
#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Mutex<Weak<Watching>>>);

/// As long as one of these is held, somebody looks.
pub(crate) struct Watching {
    told: Sender<SessionActivity>,
    task: AbortHandle,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watch {
    /// Listens. To be called within a tokio runtime.
    pub(crate) fn join(&self, app: &AppState) -> (Receiver<SessionActivity>, Arc<Watching>) {
        let mut current = locked(&self.0);
        if let Some(watching) = current.upgrade() {
            return (watching.told.subscribe(), watching);
        }
        let (told, listener) = broadcast::channel(WAITING);
        let task = tokio::spawn(watch(app.clone(), told.clone())).abort_handle();
        let watching = Arc::new(Watching { told, task });
        *current = Arc::downgrade(&watching);
        (listener, watching)
    }
}

async fn watch(app: AppState, told: Sender<SessionActivity>) {
    let mut changes = app.reflector.events();
    let mut before = None;
    loop {
        let began = Instant::now();
        // What the API did itself it has told of. What it did during the look counts for the next one.
        let earlier = touched(&mut changes);
        if let Ok(mut now) = app.query(|reflector| reflector.seen()).await {
            let during = touched(&mut changes);
            if let Some(before) = &mut before {
                forget(before, &earlier);
                forget(before, &during);
                forget(&mut now, &during);
                report_changes(&app, before, &now, &told);
            }
            before = Some(now);
        }
        tokio::time::sleep(INTERVAL.max(began.elapsed() * PAUSE)).await;
    }
}

/// Sessions that the API had start over or forgot.
fn touched(changes: &mut Receiver<ChangeEvent>) -> Vec<SessionId> {
    let mut ids = Vec::new();
    loop {
        match changes.try_recv() {
            Ok(ChangeEvent::Session { id, change: SessionChange::Deleted | SessionChange::Reset }) => ids.push(id),
            // What was missed is reported once more, as if it had come by itself.
            Ok(_) | Err(TryRecvError::Lagged(_)) => {}
            Err(TryRecvError::Empty | TryRecvError::Closed) => return ids,
        }
    }
}

fn forget(set: &mut HashSet<SessionId, impl std::hash::BuildHasher>, ids: &[SessionId]) {
    for id in ids {
        set.remove(id);
    }
}

fn report_changes<H: std::hash::BuildHasher>(
    app: &AppState,
    before: &HashSet<SessionId, H>,
    now: &HashSet<SessionId, H>,
    told: &Sender<SessionActivity>,
) {
    let created = now.iter().filter(|id| !before.contains(id));
    let expired = before.iter().filter(|id| !now.contains(id));
    let counts = (created.clone().take(MOST + 1).count(), expired.clone().take(MOST + 1).count());
    if counts.0 + counts.1 > MOST {
        let _ = told.send(SessionActivity::Many { created: created.count(), expired: expired.count() });
        return;
    }
    for id in created {
        let change =
            if app.reflector.provisioned(*id).is_ok() { SessionTransition::Seen } else { SessionTransition::Created };
        let _ = told.send(SessionActivity::One(*id, change));
    }
    for id in expired {
        let _ = told.send(SessionActivity::One(*id, SessionTransition::Expired));
    }
}
