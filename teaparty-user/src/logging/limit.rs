//! Lines that repeat: a place in the program that has said much lately is silent for a while, and what it would have said
//! is counted and told.
//!
//! What anybody can cause by sending packets would otherwise fill a disk.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Period for which lines of one place are counted together.
const WINDOW: Duration = Duration::from_secs(10);
/// Lines of one place in that time.
const LINES: u32 = 20;
/// Likewise of one that speaks to whoever asked for details.
const DETAILS: u32 = 1000;
/// Octets of a line that are shown again with the count.
const EXCERPT: usize = 120;

/// The places that have spoken. There are no more than the program has.
static PLACES: Mutex<Option<HashMap<Identifier, CallSite>>> = Mutex::new(None);

struct CallSite {
    since: Instant,
    lines: u32,
    suppressed: u32,
    /// The first line that was suppressed.
    excerpt: String,
    level: Level,
}

/// The lines that one place has suppressed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suppressed {
    /// Their number.
    pub(super) lines: u32,
    /// The first of them.
    pub(super) excerpt: String,
    /// Their level.
    pub(super) level: Level,
}

/// The layer that keeps lines back.
pub(super) struct Limit;

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        with_places(|places| admit(places, event.metadata(), Instant::now(), || excerpt(event)))
    }
}

/// Takes the suppressed lines of windows that ended by `now`; all of it where there is no `now`.
pub(super) fn take_suppressed(now: Option<Instant>) -> Vec<Suppressed> {
    with_places(|places| take(places, now))
}

fn with_places<T>(with: impl FnOnce(&mut HashMap<Identifier, CallSite>) -> T) -> T {
    with(PLACES.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// Returns true if a line may be said at `now`.
fn admit(
    places: &mut HashMap<Identifier, CallSite>,
    metadata: &Metadata<'_>,
    now: Instant,
    excerpt: impl FnOnce() -> String,
) -> bool {
    let level = *metadata.level();
    let new = || CallSite { since: now, lines: 0, suppressed: 0, excerpt: String::new(), level };
    let place = places.entry(metadata.callsite()).or_insert_with(new);
    // A window ends when its suppressed lines are reported.
    if now.duration_since(place.since) >= WINDOW && place.suppressed == 0 {
        (place.since, place.lines) = (now, 0);
    }
    let most = if level <= Level::INFO { LINES } else { DETAILS };
    if place.lines < most {
        place.lines += 1;
        return true;
    }
    if place.suppressed == 0 {
        place.excerpt = excerpt();
    }
    place.suppressed = place.suppressed.saturating_add(1);
    false
}

fn take(places: &mut HashMap<Identifier, CallSite>, now: Option<Instant>) -> Vec<Suppressed> {
    let is_over = |place: &CallSite| now.is_none_or(|now| now.duration_since(place.since) >= WINDOW);
    let over = places.values_mut().filter(|place| place.suppressed > 0 && is_over(place));
    let tell = |place: &mut CallSite| {
        let told =
            Suppressed { lines: place.suppressed, excerpt: std::mem::take(&mut place.excerpt), level: place.level };
        (place.suppressed, place.lines) = (0, 0);
        place.since = now.unwrap_or(place.since);
        told
    };
    over.map(tell).collect()
}

/// The beginning of what a line says.
fn excerpt(event: &Event<'_>) -> String {
    let mut message = super::sentence::of(event);
    if let Some((end, _)) = message.char_indices().nth(EXCERPT) {
        message.truncate(end);
        message.push('…');
    }
    message
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    struct Count(Arc<AtomicU32>);

    impl<S: Subscriber> Layer<S> for Count {
        fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_flood_from_one_place_is_cut_and_counted_and_others_are_heard() {
        let count = Arc::new(AtomicU32::new(0));
        let subscriber = tracing_subscriber::registry().with(Limit).with(Count(count.clone()));
        tracing::subscriber::with_default(subscriber, || {
            for n in 0..1000 {
                tracing::warn!("the flood of this test, {n}");
            }
            tracing::warn!("another place");
        });
        assert_eq!(count.load(Ordering::Relaxed), LINES + 1);
        let told = take_suppressed(None);
        let ours = told.iter().find(|told| told.excerpt.starts_with("the flood of this test")).unwrap();
        let expected = format!("the flood of this test, {LINES}");
        assert_eq!((ours.lines, &*ours.excerpt, ours.level), (1000 - LINES, &*expected, Level::WARN));
        assert!(!take_suppressed(None).iter().any(|told| told.excerpt.starts_with("the flood of this test")));
    }

    #[test]
    fn a_place_speaks_again_when_its_window_is_over() {
        // A place's metadata, which only an event has.
        struct Take<'a>(&'a Mutex<Vec<(bool, Vec<Suppressed>)>>);
        impl<S: Subscriber> Layer<S> for &'static Take<'static> {
            fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
                let mut places = HashMap::new();
                let start = Instant::now();
                let mut results = self.0.lock().unwrap();
                let mut say = |at: Duration| {
                    let is_said = admit(&mut places, event.metadata(), start + at, || "once".into());
                    (is_said, take(&mut places, Some(start + at)))
                };
                for _ in 0..LINES {
                    assert_eq!(say(Duration::ZERO), (true, vec![]));
                }
                results.push(say(Duration::from_secs(9)));
                results.push(say(WINDOW));
                results.push(say(WINDOW));
            }
        }
        static RESULTS: Mutex<Vec<(bool, Vec<Suppressed>)>> = Mutex::new(Vec::new());
        static TAKE: Take<'static> = Take(&RESULTS);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(&TAKE), || tracing::info!("x"));
        let results = RESULTS.lock().unwrap();
        let told = Suppressed { lines: 2, excerpt: "once".into(), level: Level::INFO };
        assert_eq!(*results, [(false, vec![]), (false, vec![told]), (true, vec![])]);
    }
}
