//! What a report has to say, by those who have seen all packets: from the definitions of RFC 8762 (numbers), RFC 4737
//! (reordering), RFC 7680 (loss: no reply within the timeout), and the order in which packets were sent.

use super::world::{Packet, Script};

/// The counts that are compared.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) lost: u64,
    pub(crate) unsettled: u64,
    pub(crate) late: u64,
    pub(crate) duplicates: u64,
    pub(crate) reordered: u64,
    pub(crate) reordering_extent_max: u64,
    /// Packets that this host refused to send.
    pub(crate) refused: u64,
    pub(crate) loss_bursts: u64,
    pub(crate) loss_burst_max: u64,
    pub(crate) discarded_by_clock_step: u64,
    pub(crate) restarts: u64,
    pub(crate) far_end: Option<u64>,
    pub(crate) near_end: Option<u64>,
    pub(crate) unattributed: u64,
    /// Places in the schedule that were not used; compared beside the others.
    pub(crate) skipped: u64,
    /// True if a session counts something else.
    pub(crate) is_wrong: bool,
}

/// The fate of a packet.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Received,
    Lost,
    Unsettled,
}

impl Truth {
    /// Returns the truth about packets whose replies were looked for until `end_ns`, and true if it has restarts and
    /// directions. It lacks them if the replies can't show a restart: the first number after it is above all before it.
    pub(crate) fn of(packets: &[Packet], script: &Script, end_ns: u64) -> (Self, bool) {
        let sent: Vec<&Packet> = packets.iter().filter(|packet| !packet.is_refused).collect();
        let first = |packet: &Packet| packet.arrivals.first().filter(|(came_ns, _)| *came_ns <= end_ns).copied();
        let fate = |packet: &Packet| match first(packet) {
            Some((came_ns, _)) if came_ns - packet.t1_ns <= script.timeout_ns => Fate::Received,
            Some(_) => Fate::Lost,
            None if packet.t1_ns + script.timeout_ns < end_ns => Fate::Lost,
            None => Fate::Unsettled,
        };
        let fates: Vec<Fate> = sent.iter().map(|packet| fate(packet)).collect();
        let count = |wanted| fates.iter().filter(|fate| **fate == wanted).count() as u64;
        let mut truth = Self {
            sent: sent.len() as u64,
            refused: (packets.len() - sent.len()) as u64,
            received: count(Fate::Received),
            lost: count(Fate::Lost),
            unsettled: count(Fate::Unsettled),
            ..Self::default()
        };
        for (packet, fate) in sent.iter().zip(&fates) {
            let came = packet.arrivals.iter().filter(|(came_ns, _)| *came_ns <= end_ns).count() as u64;
            truth.duplicates += came.saturating_sub(1);
            truth.late += u64::from(came > 0 && *fate == Fate::Lost);
            let is_split = |(came_ns, _)| script.clock_life(packet.t1_ns) != script.clock_life(came_ns);
            truth.discarded_by_clock_step += u64::from(*fate == Fate::Received && first(packet).is_some_and(is_split));
        }
        let lost: Vec<bool> = fates.iter().map(|fate| *fate == Fate::Lost).collect();
        let runs = lost.split(|is_lost| !is_lost).map(<[bool]>::len).filter(|len| *len > 0);
        truth.loss_bursts = runs.clone().count() as u64;
        truth.loss_burst_max = runs.max().unwrap_or(0) as u64;
        (truth.reordered, truth.reordering_extent_max) = reordered(&sent, &fates, first);
        let has_directions = truth.directions(&sent, &fates, first);
        (truth, has_directions)
    }

    /// Restarts, and where packets were lost: known of those between two answered packets of one life of the reflector, and
    /// of those before the first one if that has the number 0.
    fn directions(
        &mut self,
        sent: &[&Packet],
        fates: &[Fate],
        first: impl Fn(&Packet) -> Option<(u64, usize)>,
    ) -> bool {
        let shown: Vec<Option<(usize, u32)>> =
            sent.iter().map(|packet| first(packet).map(|(_, reply)| packet.replies[reply])).collect();
        let mut lives: Vec<(usize, u32)> = Vec::new();
        for (life, number) in shown.iter().flatten().copied() {
            match lives.last_mut() {
                Some((last, most)) if *last == life => *most = number.max(*most),
                Some((_, most)) if number > *most => return false,
                _ => lives.push((life, number)),
            }
        }
        self.restarts = lives.len().saturating_sub(1) as u64;
        // What is missing after a packet that may yet be answered may be the number of that answer.
        let open = fates.iter().position(|fate| *fate == Fate::Unsettled).unwrap_or(fates.len());
        let mut known = [0, 0];
        for (at, packet) in sent.iter().enumerate().filter(|(at, _)| fates[*at] == Fate::Lost) {
            let before = shown[..at].iter().rev().flatten().next();
            let after = shown[at + 1..open.max(at + 1)].iter().flatten().next();
            let is_known = match (before, shown[at], after) {
                _ if at > open => false,
                // Too late, and here all the same.
                (_, Some(_), _) => true,
                (Some((before, _)), None, Some((after, _))) => before == after,
                (None, None, Some((_, number))) => *number == 0,
                _ => false,
            };
            if is_known {
                known[usize::from(!packet.replies.is_empty())] += 1;
            }
        }
        (self.far_end, self.near_end) = (Some(known[0]), Some(known[1]));
        self.unattributed = self.lost - known[0] - known[1];
        true
    }
}

/// First replies in time that came after one to a later packet (RFC 4737 §3.3), and the largest extent of them: how many
/// replies came since the first one to a later packet (§4.2.1).
fn reordered(sent: &[&Packet], fates: &[Fate], first: impl Fn(&Packet) -> Option<(u64, usize)>) -> (u64, u64) {
    let mut arrivals: Vec<(u64, usize)> = sent
        .iter()
        .enumerate()
        .filter(|(at, _)| fates[*at] == Fate::Received)
        .filter_map(|(at, packet)| Some((first(packet)?.0, at)))
        .collect();
    arrivals.sort_unstable();
    let (mut count, mut extent) = (0, 0);
    for (place, (_, at)) in arrivals.iter().enumerate() {
        if let Some(earliest) = arrivals[..place].iter().position(|(_, other)| other > at) {
            count += 1;
            extent = extent.max((place - earliest) as u64);
        }
    }
    (count, extent)
}
