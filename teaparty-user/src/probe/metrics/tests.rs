//! The text of metrics for made-up targets.

use super::*;

#[test]
fn clients_get_the_form_that_they_like_best() {
    let prometheus = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;\
                      q=0.6,application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.2";
    let reversed = "text/plain;version=0.0.4;q=0.6,application/vnd.google.protobuf;\
                    proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.5";
    let text_form = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text";
    for (accept, form) in [
        (prometheus, MetricsFormat::Protobuf),
        (reversed, MetricsFormat::Text),
        (text_form, MetricsFormat::Text),
        ("*/*", MetricsFormat::Text),
        ("", MetricsFormat::Text),
        ("application/json", MetricsFormat::Text),
    ] {
        assert_eq!(MetricsFormat::accepted(accept), form, "{accept}");
    }
}
