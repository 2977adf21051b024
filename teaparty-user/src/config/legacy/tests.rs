//! How addresses and ports are read; whole files are in `testing_data/configs/namesake`.

use super::*;

#[test]
fn what_follows_the_last_colon_is_a_port_where_the_rest_is_an_address() {
    for (written, read) in [
        ("192.0.2.1", "192.0.2.1:7"),
        ("192.0.2.1:9", "192.0.2.1:9"),
        ("2001:db8::5", "[2001:db8::5]:7"),
        ("2001:db8::5:9", "[2001:db8::5]:9"),
        ("::1", "[::1]:7"),
        ("[::1]", "[::1]:7"),
        ("[::1]:9", "[::1]:9"),
        ("2001:db8:0:0:0:0:0:1", "[2001:db8::1]:7"),
        ("2001:db8:0:0:0:0:0:1:9", "[2001:db8::1]:9"),
    ] {
        assert_eq!(endpoint(written, 7), Some(read.parse().unwrap()), "{written}");
    }
    for wrong in ["", ":9", "localhost", "192.0.2.1:", "192.0.2.1:65536", "[::1", "[]"] {
        assert_eq!(endpoint(wrong, 7), None, "{wrong}");
    }
}

#[test]
fn blocks_as_deep_as_a_line_may_be_are_taken_apart_without_a_crash() {
    let deepest = "- ".repeat(MAX_LINE / 2);
    let what = convert(&deepest).unwrap_err().remove(0).what;
    assert!(what.contains("an instance is a map"), "{what}");
    let what = convert(&format!("{deepest}- ")).unwrap_err().remove(0).what;
    assert!(what.contains("more than 1024 characters"), "{what}");
    let flow = "[".repeat(MAX_LINE);
    assert!(convert(&flow).unwrap_err()[0].what.starts_with("this is not YAML: "));
}

#[test]
fn aliases_can_not_make_more_of_a_file_than_is_in_it() {
    let levels = (1..12).map(|level| format!("x{level}: &x{level} [{}]\n", format!("*x{}, ", level - 1).repeat(9)));
    let bomb = format!("x0: &x0 [1, 2]\n{}", levels.collect::<String>());
    assert!(convert(&bomb).unwrap_err()[0].what.starts_with("this is not YAML: "));
}
