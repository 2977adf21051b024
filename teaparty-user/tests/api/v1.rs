//! `/api/v1`, the probes and the metrics.

use axum::http::header;
use serde_json::{Value, json};
use teaparty_testing::api::{Api, problem, text};
use teaparty_user::http::auth::token::Token;

const SESSIONS: &str = "/api/v1/sessions";

fn body(port: u16, ssid: u16) -> String {
    json!({"source": "127.0.0.1", "destination_port": port, "ssid": ssid, "key": "hunter2"}).to_string()
}

#[tokio::test]
async fn a_session_is_created_found_and_deleted() {
    let api = Api::new();
    let json = [("content-type", "application/json; charset=utf-8")];
    let created = api.send("POST", SESSIONS, &json, &body(api.port, 7)).await;
    assert_eq!(created.status(), 201);
    let path = created.headers()[header::LOCATION].to_str().unwrap().to_owned();
    assert_eq!(path, format!("{SESSIONS}/127.0.0.1,0,0.0.0.0,{},7", api.port));
    let created: Value = serde_json::from_str(&text(created).await).unwrap();
    assert_eq!((&created["authenticated"], &created["provisioned"]), (&json!(true), &json!(true)));
    assert_eq!((&created["source_port"], &created["seen"]), (&json!(0), &json!([])));

    assert_eq!(api.json("GET", &path, "").await, (axum::http::StatusCode::OK, created));
    problem(api.send("POST", SESSIONS, &json, &body(api.port, 7)).await, 409).await;
    assert_eq!(api.send("DELETE", &path, &[], "").await.status(), 204);
    problem(api.send("DELETE", &path, &[], "").await, 404).await;
    problem(api.send("GET", &path, &[], "").await, 404).await;
    problem(api.send("GET", "/api/v1/sessions/nonsense", &[], "").await, 404).await;
}

#[tokio::test]
async fn what_packets_did_is_shown() {
    let api = Api::new();
    let from = api.measure(9);
    let path = format!("{SESSIONS}/127.0.0.1,{from},127.0.0.1,{},9", api.port);
    let (status, session) = api.json("GET", &path, "").await;
    assert_eq!(status, 200);
    assert_eq!(session["provisioned"], false);
    let seen = &session["seen"][0];
    assert_eq!((&seen["interface"], &seen["owner"]), (&json!("lo"), &json!("controller")));
    assert_eq!((&seen["received"], &seen["replies"]), (&json!(1), &json!(1)));

    let (_, reflector) = api.json("GET", "/api/v1/reflector", "").await;
    assert_eq!(reflector["state"], "ready");
    let interface = &reflector["interfaces"][0];
    assert_eq!((&interface["name"], &interface["xdp_mode"]), (&json!("lo"), &json!("off")));
    assert_eq!((&interface["program_id"], &interface["ports"]), (&Value::Null, &json!([api.port])));
    let count = &reflector["counters"][0];
    assert_eq!((&count["reason"], &count["verdict"]), (&json!("reflected"), &json!("reflect")));
    assert_eq!((&count["path"], &count["packets"]), (&json!("socket"), &json!(1)));
    assert!(count["help"].as_str().unwrap().ends_with('.'));
    assert_eq!(count["remedy"], Value::Null);
    assert!(reflector["health"]["summary"].as_str().unwrap().starts_with("answering by sockets on lo"), "{reflector}");
    assert!(reflector["at"]["secs_since_epoch"].as_u64().unwrap() > 1_600_000_000);
    let (_, settings) = api.json("GET", "/api/v1/configuration", "").await;
    let port = settings.as_array().unwrap().iter().find(|setting| setting["name"] == "port").unwrap();
    assert_eq!(
        (&port["value"], &port["default"], &port["takes_effect"]),
        (&json!([api.port]), &json!([862]), &json!("restart"))
    );

    let metrics = api.send("GET", "/metrics", &[], "").await;
    assert_eq!(metrics.headers()[header::CONTENT_TYPE], "text/plain; version=0.0.4; charset=utf-8");
    let metrics = text(metrics).await;
    let line = "teaparty_packets_total{interface=\"lo\",path=\"socket\",verdict=\"reflect\",reason=\"reflected\"} 1\n";
    assert!(metrics.contains(line), "{metrics}");
    for path in ["/livez", "/readyz"] {
        assert_eq!(text(api.send("GET", path, &[], "").await).await, "ok\n");
    }
}

#[tokio::test]
async fn pages_cover_every_session_once() {
    let api = Api::new();
    for ssid in 1..=25 {
        assert_eq!(api.json("POST", SESSIONS, &body(api.port, ssid)).await.0, 201);
    }
    let (mut path, mut all) = (format!("{SESSIONS}?limit=10"), Vec::new());
    loop {
        let (status, page) = api.json("GET", &path, "").await;
        assert_eq!((status.as_u16(), &page["total"]), (200, &json!(25)));
        all.extend(page["sessions"].as_array().unwrap().iter().map(|session| session["ssid"].as_u64().unwrap()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("{SESSIONS}?limit=10&after={next}");
    }
    assert_eq!(all, (1..=25).collect::<Vec<u64>>());

    for (filter, count) in [
        ("ssid=3", 1),
        ("source=127.0.0.1", 25),
        ("source=127.0.0.2", 0),
        ("destination=0.0.0.0&authenticated=true", 25),
        ("provisioned=false", 0),
        ("interface=lo", 0),
    ] {
        let (_, page) = api.json("GET", &format!("{SESSIONS}?{filter}"), "").await;
        assert_eq!(page["total"], count, "{filter}");
    }
    for (query, status, field) in
        [("limit=0", 422, "limit"), ("limit=10001", 422, "limit"), ("after=x", 422, "after"), ("limit=x", 400, "")]
    {
        let answer = api.send("GET", &format!("{SESSIONS}?{query}"), &[], "").await;
        assert_eq!(problem(answer, status).await.0, field, "{query}");
    }
    problem(api.send("GET", &format!("{SESSIONS}?nonsense=1"), &[], "").await, 400).await;
}

#[tokio::test]
async fn sessions_are_searched_sorted_and_left_out_by_the_server() {
    let api = Api::new();
    for ssid in 1..=25 {
        assert_eq!(api.json("POST", SESSIONS, &body(api.port, ssid)).await.0, 201);
    }
    let (ssid, other) = (500, 501);
    let from = api.measure(ssid);
    api.measure(other);
    let ids = async |query: &str| {
        let (status, page) = api.json("GET", &format!("{SESSIONS}?{query}"), "").await;
        assert_eq!(status, 200, "{query}: {page}");
        let ssids = page["sessions"].as_array().unwrap().iter().map(|session| session["ssid"].as_u64().unwrap());
        (ssids.collect::<Vec<_>>(), page["total"].as_u64().unwrap(), page["next"].is_null())
    };
    assert_eq!(ids(&format!("search={from},127")).await.0, [500]);
    assert_eq!(ids("search=nowhere").await.1, 0);
    // Those with packets come first, the latest before the others.
    let (latest, total, is_last) = ids("sort=last_received&descending=true&limit=3").await;
    assert_eq!((&latest[..2], total, is_last), (&[501, 500][..], 27, true));
    for sort in ["received", "replies"] {
        let mut first = ids(&format!("sort={sort}&descending=true&limit=2")).await.0;
        first.sort_unstable();
        assert_eq!(first, [500, 501], "{sort}");
        assert!(ids(&format!("sort={sort}&limit=25")).await.0.iter().all(|ssid| *ssid <= 25), "{sort}");
    }
    let (all, ..) = ids("limit=100").await;
    let (mut backwards, ..) = ids("sort=id&descending=true&limit=100").await;
    backwards.reverse();
    assert_eq!(backwards, all);
    assert_eq!(ids("offset=20&limit=5").await.0, all[20..25]);
    assert_eq!(ids("offset=26&limit=5").await, (all[26..].to_vec(), 27, true));
    assert_eq!(ids("offset=27").await.0, [0; 0]);
    let long = "1".repeat(129);
    let answer = api.send("GET", &format!("{SESSIONS}?search={long}"), &[], "").await;
    assert_eq!(problem(answer, 422).await.0, "search");
    problem(api.send("GET", &format!("{SESSIONS}?sort=size"), &[], "").await, 400).await;
}

#[tokio::test]
async fn all_sessions_come_as_lines_where_that_is_asked_for() {
    let api = Api::new();
    for ssid in 1..=600 {
        assert_eq!(api.json("POST", SESSIONS, &body(api.port, ssid)).await.0, 201);
    }
    let lines = async |query: &str| {
        let headers = [("accept", "text/html;q=0.1, Application/X-NDJSON")];
        let answer = api.send("GET", &format!("{SESSIONS}{query}"), &headers, "").await;
        assert_eq!(
            (answer.status(), &answer.headers()["content-type"]),
            (axum::http::StatusCode::OK, &"application/x-ndjson".parse().unwrap())
        );
        let text = text(answer).await;
        assert!(!text.contains("hunter2"));
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>()
    };
    let all = lines("").await;
    assert_eq!(
        all.iter().map(|session| session["ssid"].as_u64().unwrap()).collect::<Vec<_>>(),
        (1..=600).collect::<Vec<_>>()
    );
    // A line says what a page says.
    let (_, page) = api.json("GET", &format!("{SESSIONS}?limit=2"), "").await;
    assert_eq!(all[..2], *page["sessions"].as_array().unwrap());
    assert_eq!(lines("?ssid=7").await.len(), 1);
    assert_eq!(lines("?limit=5").await.len(), 5);
    let behind = lines(&format!("?after={}", all[597]["id"].as_str().unwrap())).await;
    assert_eq!(behind, all[598..]);
    assert!(lines("?source=127.0.0.2").await.is_empty());
}

#[tokio::test]
async fn pages_are_of_one_look_until_the_api_changes_something() {
    let api = Api::new();
    for ssid in 1..=200 {
        assert_eq!(api.json("POST", SESSIONS, &body(api.port, ssid)).await.0, 201);
    }
    let (_, first) = api.json("GET", &format!("{SESSIONS}?limit=100"), "").await;
    let next = format!("{SESSIONS}?limit=100&after={}", first["next"].as_str().unwrap());
    api.measure(500);
    assert_eq!(api.json("GET", &next, "").await.1["total"], 200, "what packets did since is for the next look");
    let path = format!("{SESSIONS}/{}", first["sessions"][0]["id"].as_str().unwrap());
    assert_eq!(api.json("DELETE", &path, "").await.0, 204);
    let (_, second) = api.json("GET", &next, "").await;
    // The next look: one is gone, the one that the packet made is there, and nobody has moved over the edge.
    assert_eq!((&second["total"], second["sessions"].as_array().unwrap().len()), (&json!(200), 100));
    assert_eq!(api.json("GET", SESSIONS, "").await.1["total"], 200);
}

#[tokio::test]
async fn wrong_requests_get_problem_documents() {
    let api = Api::new();
    let json = [("content-type", "application/json")];
    problem(api.send("GET", "/nowhere", &[], "").await, 404).await;
    problem(api.send("GET", "/api/v1/nowhere", &[], "").await, 404).await;
    let wrong_method = api.send("PATCH", SESSIONS, &[], "").await;
    let allowed = wrong_method.headers()[header::ALLOW].to_str().unwrap().to_owned();
    assert!(allowed.contains("POST") && allowed.contains("GET"), "{allowed}");
    problem(wrong_method, 405).await;
    problem(api.send("POST", SESSIONS, &[], &body(api.port, 1)).await, 415).await;
    problem(api.send("POST", SESSIONS, &json, &"x".repeat(300_000)).await, 413).await;
    for (field, value) in [
        ("source", json!("::ffff:0.0.0.0")),
        ("destination", json!("ff02::1")),
        ("destination_port", json!(0)),
        ("timestamp_format", json!("tai")),
        ("key", json!("hex:hunter2")),
        ("tlv_key", json!("base64:=")),
        ("no_tlv", json!("yes")),
        ("ssid", json!(1e9)),
        ("kye", json!("hunter2")),
    ] {
        let mut posted: Value = serde_json::from_str(&body(api.port, 1)).unwrap();
        posted[field] = value;
        let (named, said) = problem(api.send("POST", SESSIONS, &json, &posted.to_string()).await, 422).await;
        assert_eq!(named, field);
        assert!(said.contains("remedy") && !said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn heartbeats_are_added_sent_and_removed() {
    let api = Api::new();
    let path = "/api/v1/heartbeats";
    let target = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    target.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
    let address = target.local_addr().unwrap().to_string();
    let posted = json!({"target": address, "interval_seconds": 1}).to_string();
    let (status, added) = api.json("POST", path, &posted).await;
    assert_eq!((status.as_u16(), &added["target"]), (201, &json!(address)));
    assert_eq!(api.json("POST", path, &posted).await.0, 409);

    let (packet, from) = tokio::task::spawn_blocking(move || {
        let mut packet = [0; 100];
        let (len, from) = target.recv_from(&mut packet).expect("a heartbeat");
        (packet[..len].to_vec(), from)
    })
    .await
    .unwrap();
    assert_eq!(from.to_string(), format!("127.0.0.1:{}", api.port));
    assert_eq!((packet.len(), &packet[..4], &packet[12..16]), (56, &[0, 0, 0, 0x22][..], &[0, 1, 0, 0][..]));
    // Loopback has no MAC address.
    assert_eq!(packet[44..], [0x80, 242, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0]);

    // No interface of this reflector leads there.
    let unreachable = json!({"target": "192.0.2.1", "interval_seconds": 1}).to_string();
    assert_eq!(api.json("POST", path, &unreachable).await.0, 201);
    let settled = async {
        loop {
            let list = api.json("GET", path, "").await.1;
            if list[1]["failed"] != 0 && list[0]["sent"] != 0 {
                return list;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    let list = tokio::time::timeout(std::time::Duration::from_secs(10), settled).await.unwrap();
    assert!(list[0]["last_success"]["secs_since_epoch"].as_u64().unwrap() > 1_600_000_000, "{list}");
    assert_eq!((&list[1]["sent"], &list[1]["last_success"]), (&json!(0), &Value::Null));
    assert!(list[1]["last_error"].is_string(), "{list}");

    assert_eq!(api.send("DELETE", &format!("{path}/{address}"), &[], "").await.status(), 204);
    problem(api.send("DELETE", &format!("{path}/{address}"), &[], "").await, 404).await;
    for (field, body) in [
        ("target", json!({"target": "", "interval_seconds": 1})),
        ("target", json!({"interval_seconds": 1})),
        ("interval_seconds", json!({"target": "127.0.0.1", "interval_seconds": 0})),
        ("interval_seconds", json!({"target": "127.0.0.1"})),
    ] {
        let answer = api.send("POST", path, &[("content-type", "application/json")], &body.to_string()).await;
        assert_eq!(problem(answer, 422).await.0, field);
    }
}

#[tokio::test]
async fn a_token_is_needed_where_there_is_one() {
    let api = Api::with_token(Token::new(b"0123456789abcdef"));
    let answer = api.send("GET", SESSIONS, &[], "").await;
    assert_eq!(answer.headers()[header::WWW_AUTHENTICATE], "Bearer");
    problem(answer, 401).await;
    for wrong in ["Bearer 0123456789abcdeX", "Bearer ", "Basic 0123456789abcdef", "0123456789abcdef", "é"] {
        problem(api.send("GET", "/metrics", &[("authorization", wrong)], "").await, 401).await;
    }
    let right = [("authorization", "bearer 0123456789abcdef")];
    assert_eq!(api.send("GET", SESSIONS, &right, "").await.status(), 200);
    assert_eq!(api.send("GET", "/livez", &[], "").await.status(), 200);
}

#[tokio::test]
async fn a_web_page_of_elsewhere_changes_nothing() {
    let api = Api::new();
    let headers = [("content-type", "application/json"), ("origin", "https://example.org")];
    problem(api.send("POST", SESSIONS, &headers, &body(api.port, 1)).await, 403).await;
    problem(api.send("POST", "/session", &headers, "{}").await, 403).await;
    assert_eq!(api.json("GET", SESSIONS, "").await.1["total"], 0);
}
