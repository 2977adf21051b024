//! What the sender's packets look like.

use super::fake::{Fake, hex, measure, tlvs};

/// All packets of a measurement against a reflector that answers nothing.
fn capture(rest: &str) -> Vec<Vec<u8>> {
    let fake = Fake::silent();
    let (code, _) = fake.measure(&format!("-W 1ms {rest}"));
    assert_eq!(code, 4, "no reply at all");
    fake.stop().into_iter().map(|seen| seen.payload).collect()
}

#[test]
fn an_open_packet_is_44_octets_of_number_time_estimate_ssid_and_zeros_c011_c022_c060() {
    for packet in capture("--ssid 4660") {
        assert_eq!(packet.len(), 44);
        assert_eq!(packet[14..16], [0x12, 0x34]);
        assert_eq!(packet[16..], [0; 28]);
    }
}

#[test]
fn timestamps_are_ntp_by_default_and_ptp_where_asked_even_side_by_side_c014_c015_c016_c017_c019_c021() {
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let before = now();
    let (ntp, ptp) = std::thread::scope(|scope| {
        let ptp = scope.spawn(|| capture("--timestamp-format ptp"));
        (capture(""), ptp.join().unwrap())
    });
    let after = now();
    let seconds = |packet: &[u8]| u64::from(u32::from_be_bytes(packet[4..8].try_into().unwrap()));
    for packet in ntp {
        assert_eq!(packet[12] & 0x40, 0, "Z");
        assert!((before..=after).contains(&(seconds(&packet) - 2_208_988_800)), "C014: UTC, counted from 1900");
        assert_ne!(packet[13], 0, "C021: Multiplier");
    }
    // TAI is ahead of UTC by what the kernel was told, which is 0 where nobody has.
    for packet in ptp {
        assert_eq!(packet[12] & 0x40, 0x40, "Z");
        assert!((before..=after + 37).contains(&seconds(&packet)), "C015: counted from 1970");
        assert!(u32::from_be_bytes(packet[8..12].try_into().unwrap()) < 1_000_000_000, "C015: nanoseconds");
        assert_ne!(packet[13], 0, "C021: Multiplier");
    }
}

#[test]
fn the_estimate_claims_synchronisation_only_where_the_kernel_does_c019_c020() {
    let fake = Fake::silent();
    let (_, summary) = fake.measure("-W 1ms");
    let is_claimed = fake.stop()[0].payload[12] & 0x80 != 0;
    // SAFETY: it is a structure of integers, of which zeros are good ones.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: with `modes` 0 it only reads, into a structure that is ours.
    let clock = unsafe { libc::adjtimex(&mut state) };
    let is_synchronised = clock != libc::TIME_ERROR && state.status & libc::STA_UNSYNC == 0;
    assert_eq!(is_claimed, is_synchronised);
    assert_eq!(summary["clock"]["synchronized"], is_synchronised);
}

#[test]
fn numbers_begin_at_0_and_count_up_in_each_session_c012() {
    let (one, two) = (Fake::silent(), Fake::silent());
    measure(&format!("{} {}", one.address, two.address), "-W 1ms -c 5");
    for fake in [one, two] {
        let numbers: Vec<Vec<u8>> = fake.stop().into_iter().map(|seen| seen.payload[..4].to_vec()).collect();
        assert_eq!(numbers, (0u32..5).map(|n| n.to_be_bytes().to_vec()).collect::<Vec<_>>());
    }
}

/// The TLV part of packets that are all the same.
#[track_caller]
fn assert_sent(chain: &str, expected: &str) {
    for packet in capture(&format!("tlvs {chain}")) {
        assert_eq!(packet[44..], hex(expected), "{chain}");
    }
}

/// Layouts of STAMP.md section 3 by hand: U alone among the flags, and nothing in what is the reflector's to fill.
#[test]
fn tlvs_go_out_with_u_alone_and_zeros_to_be_filled_c069_c072_c073_c080_c093_c105_c110_c116_c120_c126_c134_c141_c146_c250()
 {
    assert_sent("time", "80 03 0004 00000000");
    assert_sent(
        "location --mac --destination --source",
        &[
            "80 02 0038 0000 0000 80 01 0008 0000000000000000",
            "80 04 0010 00000000000000000000000000000000 80 07 0010 00000000000000000000000000000000",
        ]
        .concat(),
    );
    assert_sent("location", "80 02 0018 0000 0000 80 07 0010 00000000000000000000000000000000");
    assert_sent("class-of-service", "80 04 0004 20000000");
    assert_sent("class-of-service --dscp ef --ecn ect0", "80 04 0004 b8008000");
    assert_sent("access-report --retransmissions 9 --timer 1ms", "80 06 0004 10 01 0000");
    assert_sent("followup", "80 07 0010 00000000 0000000000000000 00 000000");
}

#[test]
fn later_tlvs_and_sub_tlvs_go_out_with_u_alone_too_c072_c073_c109_c220_c224() {
    assert_sent("destination-address --address 192.0.2.7", "80 09 0004 c0000207");
    assert_sent("return-path --same-link", "80 0a 0008 80 01 0004 00000001");
    assert_sent("return-path --address 2001:db8::7", "80 0a 0014 80 02 0010 20010db8000000000000000000000007");
    assert_sent("return-path --labels 16,17", "80 0a 000c 80 03 0008 000100ff 000111ff");
    assert_sent("return-path --segments 2001:db8::7", "80 0a 0014 80 04 0010 20010db8000000000000000000000007");
    assert_sent("micro-session --sender-id 258", "80 0b 0004 0102 0000");
    assert_sent("micro-session --sender-id 258 --reflector-id 3", "80 0b 0004 0102 0003");
    assert_sent("destination-port", "80 f3 0004 03d7 0000");
    assert_sent("history --length 1", &format!("80 f4 0020 {}", "00".repeat(32)));
    assert_sent("reflected-fixed-header-data --selector 450000ff", &format!("80 f7 0014 450000ff{}", "00".repeat(16)));
    assert_sent("reflected-fixed-header-data", &format!("80 f7 0014 {}", "00".repeat(20)));
    assert_sent("class-of-service-v2 --dscp af11 --ecn ce", "80 f8 0004 00 00 2b 00");
    assert_sent("dscp-ecn", "80 b3 0004 22 00 00 00");
    assert_sent("padding --zero -s 5", "80 01 0005 0000000000");
    assert_sent(
        "bit-error-rate --size 5",
        "80 f0 0002 ff00 80 f1 0004 00000000 80 f2 0004 00000000 80 01 0004 ff00ff00",
    );
}

#[test]
fn reflected_control_has_twelve_octets_at_least_c230_c231() {
    // One packet: the next would wait for the burst.
    let packets = capture("-c 1 tlvs reflected-control --length 128 --count 3 --interval 1ms");
    assert_eq!(packets[0][44..], hex("80 0c 000c 0080 0003 000f4240 00000000"));
    // Unless an option says that the reflector takes its fixed part only.
    for option in ["--short", "--reflected-control-short"] {
        let packets = capture(&format!("-c 1 tlvs reflected-control {option} --length 128 --count 3 --interval 1ms"));
        assert_eq!(packets[0][44..], hex("80 0c 0008 0080 0003 000f4240"));
    }
}

#[test]
fn a_chain_is_sent_in_its_order_and_one_kind_may_repeat_c070_c104() {
    assert_sent(
        "padding --zero -s 2 -- time -- padding --zero -s 0 -- class-of-service",
        "80 01 0002 0000 80 03 0004 00000000 80 01 0000 80 04 0004 20000000",
    );
}

#[test]
fn direct_measurement_counts_the_packets_sent_c128_c131() {
    let values: Vec<Vec<u8>> =
        capture("tlvs direct-measurement").into_iter().map(|packet| packet[44..].to_vec()).collect();
    let expected = (1u8..=3).map(|n| hex(&format!("80 05 000c 000000{n:02x} 00000000 00000000")));
    assert_eq!(values, expected.collect::<Vec<_>>());
}

#[test]
fn padding_is_random_or_zero_and_comes_again_from_the_same_seed_c100_c101_c102() {
    let padding = |words: &str| -> Vec<Vec<u8>> {
        capture(words).into_iter().map(|packet| packet[tlvs(&packet, 44)[0] + 4..].to_vec()).collect()
    };
    let random = padding("--size 1048 --seed 5");
    assert!(random.iter().all(|octets| octets.len() == 1_000));
    assert_ne!(random[0], random[1]);
    // Of 256 values a thousand random octets have some 250; 200 is out of chance's reach.
    let distinct: std::collections::BTreeSet<u8> = random[0].iter().copied().collect();
    assert!(distinct.len() > 200, "C100: {} values", distinct.len());
    assert_eq!(padding("--size 1048 --seed 5"), random, "C102");
    assert_ne!(padding("--size 1048 --seed 6"), random);
    assert!(padding("--size 1048 --zero-padding").concat().iter().all(|octet| *octet == 0), "C101");
    assert!(padding("tlvs padding --zero").concat().iter().all(|octet| *octet == 0), "C101");
}

#[test]
fn what_is_made_wrong_is_wrong_as_asked() {
    assert_eq!(capture("--malformed bad-flags")[0][44..], hex("7f 01 0004 00000000"));
    assert_eq!(capture("--malformed bad-length tlvs time")[0][44..], hex("80 03 0004 00000000 80 01 ffff"));
}
