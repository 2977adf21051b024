//! Every vector that needs no key and no memory of the controller's, through the shared core on the host.
//!
//! Expected octets come from `testing_data/vectors`, not from here. Conformance rows: see `testing_data/conformance.toml`.

use teaparty_common::packet_buf::SliceBuf;
use teaparty_common::reflect::{
    Address, Disposition, Policy, Reason, ReflectorEnv, ReplyOptions, TlvIntegrity, Verdict, apply, plan, stamp,
};
use teaparty_common::tlv::{HandledBy, Kind, KindSet};
use teaparty_common::wire::Mode;
use teaparty_testing::vectors::{self, Vector, address, differences};

/// An environment with what a vector's context says: it finishes what the kernel finishes, and may grow a packet.
struct Host<'a>(&'a Vector);

impl ReflectorEnv for Host<'_> {
    const KINDS: KindSet = KindSet::handled_by(HandledBy::Kernel);
    const MAX_SUBS: usize = 64;
    const CAN_GROW: bool = true;

    fn is_local(&self, wanted: &Address) -> bool {
        self.0.ctx.local.iter().any(|ip| address(*ip) == *wanted)
    }

    fn fixed_header<const N: usize>(&self) -> Option<[u8; N]> {
        self.0.ctx.ip_header.clone().try_into().ok()
    }
}

/// Reflects a vector's request by the core: the octets, and the options to send them with.
fn reflect(vector: &Vector) -> Result<(Vec<u8>, ReplyOptions), Verdict> {
    let ctx = &vector.ctx;
    let mut octets = vector.request.clone();
    let len = octets.len();
    octets.resize(len.max(ctx.mode.base_len()), 0);
    let mut host = Host(vector);
    let verdict = plan(&SliceBuf(&mut octets), len, ctx.mode, &ctx.policy, TlvIntegrity::NotAsked, &host);
    let Verdict::Reflect(plan) = verdict else { return Err(verdict) };
    let meta = ctx.meta();
    let mut reply_options = ReplyOptions::new(meta.traffic_class);
    apply(&mut SliceBuf(&mut octets), &plan, &meta, &ctx.policy, &mut host, &mut reply_options);
    stamp(&mut SliceBuf(&mut octets), ctx.mode, (&meta).into(), ctx.timestamp).expect("a base packet");
    Ok((octets, reply_options))
}

/// Returns true if the registry says that the controller must have a part in the answer.
fn is_for_the_controller(vector: &Vector) -> bool {
    if vector.ctx.mode == Mode::Authenticated {
        return true;
    }
    let mut at = Mode::Unauthenticated.base_len();
    while let Some(&[_, code, high, low]) = vector.request.get(at..at + 4) {
        let length = u16::from_be_bytes([high, low]);
        let kind = Kind::from_number(vector.ctx.policy.code_points.kind(code, length));
        let asks = match kind {
            Some(Kind::ReflectedControl) => vector.ctx.policy.has(Policy::REFLECTED_CONTROL),
            // What is not a Control Code asks for another way back.
            Some(Kind::ReturnPath) => vector.request.get(at + 5) != Some(&1),
            Some(kind) => kind.entry().handled_by == HandledBy::Controller,
            None => false,
        };
        if asks {
            return true;
        }
        at += 4 + usize::from(length);
    }
    false
}

#[test]
fn every_vector_that_the_core_can_finish_comes_out_as_expected() {
    let mut failures = Vec::new();
    let mut answered = 0;
    for vector in vectors::all().iter().filter(|vector| !is_for_the_controller(vector)) {
        let mut found = match (reflect(vector), vector.replies.as_slice()) {
            (Ok((octets, reply_options)), [reply]) => {
                // The host's clock and state are the vector's own, so nothing but undefined flags need be masked.
                let exact: Vec<u8> = vector.mask.iter().map(|bits| if *bits == 0x7f { 0x7f } else { 0xff }).collect();
                let mut found = differences(reply, &octets, &exact);
                found.extend(misaddressed(vector, &reply_options));
                found
            }
            (Err(Verdict::Drop(_)), []) => Vec::new(),
            (outcome, _) => vec![format!("unexpected outcome {outcome:?}")],
        };
        answered += 1;
        failures.extend(found.drain(..).map(|line| format!("{} ({}): {line}", vector.id, vector.title)));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(answered >= 30, "only {answered} vectors were tried");
}

/// Returns the contradictions between the reply options and the vector.
fn misaddressed(vector: &Vector, reply_options: &ReplyOptions) -> Vec<String> {
    let expected = vector.reply_ip.as_ref().expect("a reply has an address");
    let mut found = Vec::new();
    let class = expected.dscp << 2 | expected.ecn;
    // The texts leave the marking open where no TLV asks for one; the vectors then say 0.
    if class != 0 && reply_options.traffic_class.0 != class {
        found.push(format!("traffic class: expected {class:02x}, actual {:02x}", reply_options.traffic_class.0));
    }
    let port = reply_options.destination_port.unwrap_or(vector.ctx.source_port);
    if port != expected.destination_port {
        found.push(format!("port: expected {}, actual {port}", expected.destination_port));
    }
    let source = reply_options.source.unwrap_or(address(vector.ctx.destination));
    if source != address(expected.source) {
        found.push(format!("source: expected {}, actual {source:?}", expected.source));
    }
    found
}

#[test]
fn vectors_for_the_controller_are_punted_and_named() {
    let mut named = Vec::new();
    for vector in vectors::all().iter().filter(|vector| is_for_the_controller(vector)) {
        if vector.ctx.mode == Mode::Unauthenticated {
            let outcome = reflect(vector);
            let punted = matches!(outcome, Err(Verdict::Punt(Reason::IntegrityTlv | Reason::ControllerTlv)));
            assert!(punted, "{} ({}): {outcome:?}", vector.id, vector.title);
        }
        named.push(vector.id.as_str().to_owned());
    }
    println!("for the controller: {}", named.join(" "));
    // A vector that leaves or enters this list has changed who finishes it: say so here.
    let expected = "V11 V12 V13 V15 V50 V51 V53 V55 V57 V58 V76 V77 V80 V81 V83 V84 V90 V93 V96";
    assert_eq!(named.join(" "), expected);
}

#[test]
fn a_changed_bit_in_an_expected_octet_is_noticed() {
    let vectors = vectors::all();
    let vector = vectors.iter().find(|vector| vector.id == "V30").expect("Location over IPv4");
    let (octets, _) = reflect(vector).expect("it is answered");
    let reply = &vector.replies[0];
    assert!(differences(reply, &octets, &vector.mask).is_empty());
    for at in (0..reply.len()).filter(|at| vector.mask[*at] == 0xff) {
        let mut wrong = reply.clone();
        wrong[at] ^= 0x10;
        assert_eq!(differences(&wrong, &octets, &vector.mask).len(), 1, "octet {at}");
    }
}

#[test]
fn a_dropped_vector_ends_with_a_reason_that_drops() {
    for vector in vectors::all().iter().filter(|v| v.replies.is_empty() && !is_for_the_controller(v)) {
        let Err(Verdict::Drop(reason)) = reflect(vector) else { panic!("{}: answered", vector.id) };
        assert_eq!(reason.disposition(), Disposition::Drop, "{}", vector.id);
    }
}
