//! Why no reply came at all: the likely causes in order, and how to tell them apart.

use super::sender_session::SenderSession;
use crate::layout::count;
use crate::sender::config::SenderConfig;
use crate::sender::session::measurement::FinishedMeasurement;

/// Returns one sentence about a run without any reply.
///
/// An ICMP error names its cause. Without one, the causes stand in the order in which they are mostly found: what listens
/// and drops, what can't answer, and what lies on the way.
pub(crate) fn reason(config: &SenderConfig, outcome: &FinishedMeasurement, sent: u64) -> String {
    let what = match sent {
        1 => "no reply to the only packet".to_owned(),
        _ => format!("no reply to any of {sent} packets"),
    };
    let unauthenticated: u64 = outcome.sessions.iter().map(|session| session.ignored.unauthenticated).sum();
    let unauthenticated = unauthenticated + outcome.foreign.unauthenticated;
    if unauthenticated > 0 {
        let replies = count(unauthenticated, "datagram");
        return format!("{what}: {replies} came back with a wrong HMAC; the keys differ, or the reflector has none");
    }
    match outcome.sessions.iter().find_map(|session| Some((session, session.refusal?))) {
        Some((session, errno)) => format!("{what}: {}", refusal(session, errno)),
        None => format!("{what}, and no ICMP error. {}", silence(config)),
    }
}

/// Returns the meaning of an ICMP error, by the errno that Linux makes of it.
fn refusal(session: &SenderSession, errno: i32) -> String {
    let (address, port) = (session.address, session.address.port());
    match errno {
        libc::ECONNREFUSED => format!(
            "ICMP port unreachable came back, so nothing listens at {address}. Start `teaparty reflector` there, or name \
             the port that it has instead of {port}"
        ),
        libc::EHOSTUNREACH => format!(
            "ICMP host unreachable came back for {address}: it is down, its address is wrong, or a firewall rejects the \
             packets"
        ),
        libc::ENETUNREACH => format!("ICMP network unreachable came back for {address}: a router has no route to it"),
        libc::EACCES | libc::EPERM => {
            format!("ICMP communication prohibited came back for {address}: a firewall rejects UDP port {port}")
        }
        libc::EMSGSIZE => format!("packets are too long for the path to {address}: choose a smaller --size"),
        _ => format!("{address} is unreachable: {}", std::io::Error::from_raw_os_error(errno)),
    }
}

fn silence(config: &SenderConfig) -> String {
    let keys = if config.key.is_some() {
        "the keys differ, or the reflector has none"
    } else {
        "its allow-list or rate limit drops them, or it wants a key (--auth-key-file)"
    };
    let port = config.targets.first().map_or(862, |target| target.address.port());
    format!(
        "Likely, in this order: (1) the reflector drops the packets: {keys}; `teaparty status` over there counts them by \
         reason. (2) It answers by XDP on a container's veth, which loses the replies: `teaparty doctor` over there, or \
         --xdp-mode skb. (3) A firewall drops UDP port {port}: `tcpdump -ni any udp port {port}` at both ends shows where \
         they end"
    )
}
