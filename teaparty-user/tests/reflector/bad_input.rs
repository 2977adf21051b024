//! TLVs that are wrong in every way, sampled, at a running reflector on a veth pair, by each engine: always a reply by
//! rule, of the request's size. Needs root.

use teaparty_testing::bad_input::{judge, tails};
use teaparty_testing::reflector::{Net, V4, V6};
use teaparty_testing::skip::or_skip;

/// One of this many cases is sent on the wire.
const SAMPLE: usize = 29;

#[test]
fn a_running_reflector_answers_what_is_wrong_by_rule_c281() {
    let Some(net) = or_skip(Net::new()) else { return };
    for engine in [&["--xdp-mode", "native"][..], &["--xdp-mode", "off"], &["--xdp-mode", "off", "--link-layer"]] {
        let reflector = net.reflector(engine);
        for address in [V4, V6] {
            let mut client = net.client(address, 862);
            // A Control Code of zeros asks for no reply.
            let asks = |tail: &Vec<u8>| tail.get(4..6) != Some(&[0x80, 1]) && tail.get(12..14) != Some(&[0x80, 1]);
            for tail in tails().iter().step_by(SAMPLE).filter(|tail| asks(tail)) {
                let reply = client.ask(tail).unwrap_or_else(|| panic!("{engine:?}: no reply to {tail:02x?}"));
                judge(tail, &reply[44..]).unwrap_or_else(|found| panic!("{engine:?}: {tail:02x?}: {found}"));
            }
        }
        let ended = reflector.stop();
        assert!(ended.status.success() && !ended.error.contains("panicked"), "{}", ended.error);
    }
}
