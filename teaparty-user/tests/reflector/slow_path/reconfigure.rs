//! A configuration that changes while packets come: each packet is judged by one version of it as a whole.

use std::sync::atomic::{AtomicBool, Ordering};

use teaparty_testing::reflector::{Net, V4};
use teaparty_testing::skip::or_skip;
use teaparty_user::reflector::config::{RateLimit, ReflectorConfig, ReflectorSettings, XdpMode};
use teaparty_user::reflector::handle::{ReconfigureError, ReflectorHandle};

use super::inside::Inside;

/// Changes while packets come.
const CHANGES: usize = 300;

fn change(
    handle: &ReflectorHandle,
    with: impl FnOnce(&mut ReflectorSettings),
) -> Result<Vec<String>, ReconfigureError> {
    let base = handle.config();
    let mut settings = base.settings.clone();
    with(&mut settings);
    let config = ReflectorConfig::new(settings, base.default_keys.clone()).unwrap();
    handle.reconfigure(&base, config)
}

/// Goes to and fro between two versions while packets are sent, and gives how many were sent and answered.
fn exchange(net: &Net, handle: &ReflectorHandle, versions: [fn(&mut ReflectorSettings); 2]) -> (usize, usize) {
    change(handle, versions[0]).unwrap();
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=CHANGES {
                change(handle, versions[n % 2]).unwrap();
            }
            is_over.store(true, Ordering::Relaxed);
        });
        let (client, mut sent, mut answered) = (net.client(V4, 862), 0, 0);
        let mut last = false;
        while !std::mem::replace(&mut last, is_over.load(Ordering::Relaxed)) {
            let mut packet = [0; 44];
            packet[13] = 1;
            client.send(&packet);
            sent += 1;
            answered += usize::from(client.receive_now().is_some());
        }
        // XDP answers before the sender's call returns, or a little later on a busy machine.
        while answered < sent && client.receive().is_some() {
            answered += 1;
        }
        (sent, answered)
    })
}

#[test]
fn a_packet_sees_one_version_of_policy_and_allow_list() {
    let Some(net) = or_skip(Net::new()) else { return };
    let inside = Inside::start(
        &net,
        ReflectorSettings {
            xdp_mode: XdpMode::Native,
            rate_limit: RateLimit { rate_pps: 0, burst: 0 },
            ..ReflectorSettings::default()
        },
    );
    let handle = &inside.handle;

    // Both let our packets in, by different prefixes.
    let (sent, answered) = exchange(
        &net,
        handle,
        [
            |settings| settings.allow = vec!["192.0.2.2/32".parse().unwrap()],
            |settings| settings.allow = vec!["192.0.2.0/24".parse().unwrap(), "192.0.2.128/25".parse().unwrap()],
        ],
    );
    assert!(sent > 100, "{sent}");
    assert_eq!(answered, sent, "{:?}", handle.counters());

    // Neither does: the one by their length, the other by their source. Half of each would.
    let (sent, answered) = exchange(
        &net,
        handle,
        [
            |settings| (settings.allow, settings.min_payload) = (vec!["0.0.0.0/0".parse().unwrap()], 1000),
            |settings| (settings.allow, settings.min_payload) = (vec!["198.51.100.0/24".parse().unwrap()], 14),
        ],
    );
    assert!(sent > 100, "{sent}");
    assert_eq!(answered, 0, "of {sent}");
    let dropped = |reason| handle.counters().iter().find(|count| count.reason == reason).map_or(0, |c| c.packets);
    assert!(dropped("too-short") > 0 && dropped("not-allowed") > 0);
}

#[test]
fn what_takes_a_restart_is_refused_by_name_and_nothing_changes() {
    let Some(net) = or_skip(Net::new()) else { return };
    let inside = Inside::start(&net, ReflectorSettings { xdp_mode: XdpMode::Off, ..ReflectorSettings::default() });
    let before = inside.handle.config();
    let error = change(&inside.handle, |settings| {
        settings.port = vec![863];
        settings.max_sessions = 7;
        settings.strict = true;
    });
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("max-sessions, port can't change"), "{error}");
    assert!(std::sync::Arc::ptr_eq(&before, &inside.handle.config()));
    assert_eq!(change(&inside.handle, |settings| settings.strict = true).unwrap(), ["strict"]);
    // What was read before is not what is changed now.
    let late = inside.handle.reconfigure(&before, (*before).clone());
    assert!(matches!(late, Err(ReconfigureError::Outdated)));
    // A packet with a Multiplier of 0, which strict drops.
    assert!(net.client(V4, 862).exchange(&[0; 44]).is_none());
    assert!(change(&inside.handle, |settings| settings.strict = false).is_ok());
    assert!(net.client(V4, 862).exchange(&[0; 44]).is_some());
}
