//! Slowing down when congestion is marked, and coming back (draft-ietf-ippm-stamp-cos-ecn-01 §3.4).
//!
//! The draft demands that a sender slows down and leaves open how. We halve the rate at most once a second, and double
//! it again after ten seconds without a mark, never above what was asked for.

use super::SenderSession;
use super::burst_gap::patience_ns;
use super::templates::templates;
use crate::sender::config::Pattern;
use crate::sender::config::SenderConfig;

impl SenderSession {
    /// Has the replies of each burst come as much further apart as packets do now, and waits for them as much longer.
    ///
    /// cos-ecn-01 §3.4 asks for that where packets have a Reflected Test Packet Control: what congests may be the replies.
    pub(super) fn stretch_bursts(&mut self, config: &SenderConfig) {
        let interval_ns = self.reply_interval_ns(config).unwrap_or(config.reply_interval_ns);
        let Some(gap) = &mut self.burst_gap else { return };
        let patience_ns = patience_ns(config.replies_per_packet, interval_ns.into(), config.timeout);
        gap.set_next(interval_ns, patience_ns);
        self.matcher.set_timeout(patience_ns);
        self.renew_templates(config);
    }

    /// Makes the packets to come from what is still asked of the reflector, at the present pace.
    pub(super) fn renew_templates(&mut self, config: &SenderConfig) {
        let renewed = templates(config, self.ssid, self.given_up, self.reply_interval_ns(config));
        // It can't fail: all of the code points that are left were there when the session began.
        let Ok((plain, reporting)) = renewed else { return };
        self.plain = plain;
        if let (Some((template, _)), Some(new)) = (&mut self.reporting, reporting) {
            *template = new;
        }
    }

    /// Returns the time between two replies of a burst that packets ask for instead of the configured one; `None` unless
    /// congestion was marked.
    fn reply_interval_ns(&self, config: &SenderConfig) -> Option<u32> {
        let stretch = self.schedule.stretch();
        (stretch > 1 && config.replies_per_packet > 1).then(|| stretched_ns(config, stretch))
    }
}

/// Returns `stretch` times the time between two replies that was asked for.
///
/// Replies that were asked for at once are spread over the time between two packets: no multiple of 0 is slower.
fn stretched_ns(config: &SenderConfig, stretch: u32) -> u32 {
    let packets = if let Pattern::Burst(size) = config.plan.pattern { size.max(1) } else { 1 };
    let replies = u64::from(packets) * u64::from(config.replies_per_packet);
    let interval_ns = match config.reply_interval_ns {
        0 => config.plan.interval_ps / 1_000 / replies,
        requested => requested.into(),
    };
    u32::try_from(interval_ns.saturating_mul(stretch.into())).unwrap_or(u32::MAX)
}

/// Times of the last congestion marks and of the last reaction.
#[derive(Debug, Default)]
pub(super) struct Congestion {
    changed_at: Option<u64>,
    marked_at: Option<u64>,
}

const SLOWER_AFTER_NS: u64 = 1_000_000_000;
const FASTER_AFTER_NS: u64 = 10_000_000_000;

impl Congestion {
    /// The pace to go on with, as a multiple of the interval asked for.
    pub(super) fn observe(&mut self, is_marked: bool, now_ns: u64, stretch: u32) -> u32 {
        let since = |at: Option<u64>| at.map_or(u64::MAX, |at| now_ns.saturating_sub(at));
        if is_marked {
            self.marked_at = Some(now_ns);
            if since(self.changed_at) >= SLOWER_AFTER_NS {
                self.changed_at = Some(now_ns);
                return stretch.saturating_mul(2).min(super::Schedule::MAX_STRETCH);
            }
        } else if stretch > 1 && since(self.marked_at) >= FASTER_AFTER_NS && since(self.changed_at) >= FASTER_AFTER_NS {
            self.changed_at = Some(now_ns);
            return stretch / 2;
        }
        stretch
    }
}

#[cfg(test)]
mod tests {
    use teaparty_common::tlv::Kind;

    use super::*;
    use crate::sender::target::Target;
    use crate::sender::tlvs::request::RequestTlv;

    #[test]
    fn marks_halve_the_rate_once_a_second_and_their_absence_restores_it_c253() {
        let mut congestion = Congestion::default();
        let second = 1_000_000_000;
        assert_eq!(congestion.observe(false, 0, 1), 1);
        assert_eq!(congestion.observe(true, second, 1), 2);
        assert_eq!(congestion.observe(true, second + 1, 2), 2);
        assert_eq!(congestion.observe(true, 2 * second, 2), 4);
        assert_eq!(congestion.observe(false, 11 * second, 4), 4);
        assert_eq!(congestion.observe(false, 12 * second, 4), 2);
        assert_eq!(congestion.observe(false, 13 * second, 2), 2);
        assert_eq!(congestion.observe(false, 22 * second, 2), 1);
        assert_eq!(congestion.observe(true, 40 * second, 64), 64);
    }

    /// Interval that packets ask for, how long a burst is waited for, and how long until a packet is given up.
    fn requested(session: &mut SenderSession) -> (u32, u64, u64) {
        let octets = session.plain.octets();
        let interval_ns = u32::from_be_bytes(octets[52..56].try_into().unwrap());
        let gap = session.burst_gap.as_mut().unwrap();
        gap.begin(0);
        let waits_ns = gap.until_ns().unwrap();
        let index = session.matcher.sent(Default::default());
        let expires_ns = session.matcher.next_expiry().unwrap();
        while session.matcher.close().is_some() {}
        assert_eq!(session.matcher.next_index(), index + 1);
        (interval_ns, waits_ns, expires_ns)
    }

    #[test]
    fn bursts_are_stretched_like_the_interval_and_come_back() {
        // Interval asked for, and what it is at once, twice and 4 times slower, and at once again.
        let rows: [(u32, [u32; 4]); 3] = [
            (1_000_000, [1_000_000, 2_000_000, 4_000_000, 1_000_000]),
            // 100 ms between packets, 5 replies each.
            (0, [0, 40_000_000, 80_000_000, 0]),
            (3_000_000_000, [3_000_000_000, u32::MAX, u32::MAX, 3_000_000_000]),
        ];
        for (asked_ns, expected) in rows {
            let mut config =
                SenderConfig::new(vec![Target { name: "peer".into(), address: "192.0.2.1:862".parse().unwrap() }]);
            config.tlvs = vec![RequestTlv::reflected_control(0, 5, asked_ns)];
            (config.replies_per_packet, config.reply_interval_ns) = (5, asked_ns);
            let mut session = SenderSession::new(&config, 0, 1, 0, 1).unwrap();
            for (stretch, interval_ns) in [1, 2, 4, 1].into_iter().zip(expected) {
                session.schedule.set_stretch(stretch);
                session.stretch_bursts(&config);
                let patience_ns = 4 * u64::from(interval_ns) + 2_000_000_000;
                assert_eq!(requested(&mut session), (interval_ns, patience_ns, patience_ns), "{asked_ns}, {stretch}");
            }
        }
    }

    #[test]
    fn what_is_given_up_meanwhile_stays_given_up() {
        let mut config =
            SenderConfig::new(vec![Target { name: "peer".into(), address: "192.0.2.1:862".parse().unwrap() }]);
        config.tlvs = vec![RequestTlv::reflected_control(0, 2, 1_000), RequestTlv::follow_up()];
        (config.replies_per_packet, config.reply_interval_ns) = (2, 1_000);
        let mut session = SenderSession::new(&config, 0, 1, 0, 1).unwrap();
        session.schedule.set_stretch(2);
        session.stretch_bursts(&config);
        session.give_up(Kind::FollowUpTelemetry.set(), &config);
        assert_eq!((session.plain.octets().len(), requested(&mut session).0), (44 + 16, 2_000));
        session.schedule.set_stretch(1);
        session.stretch_bursts(&config);
        assert_eq!((session.plain.octets().len(), requested(&mut session).0), (44 + 16, 1_000));
    }
}
