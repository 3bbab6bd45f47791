//! The text for Prometheus. Whether Prometheus reads it, the tests under systemd ask `promtool`.

use wasm_sock_stats::{Format, HandlerSnapshot, Outcome, render};

fn handler(name: &str) -> HandlerSnapshot {
    let mut handler = HandlerSnapshot {
        name: name.to_owned(),
        activations: 2,
        killed: 3,
        cpu: 1_500_000_001,
        last_client: 1_764_362_737_000_001,
        ..HandlerSnapshot::default()
    };
    handler.ended[Outcome::CpuTime as usize] = 4;
    handler.duration.buckets[0] = 5;
    handler.duration.buckets[12] = 1;
    handler.duration.sum = 61_000_000_000;
    handler
}

#[test]
fn each_format_has_its_own_names_for_counters_and_its_own_end() {
    let handlers = [handler("hello")];
    let (open, text) = (
        render(&handlers, "1.2.3", Format::OpenMetrics),
        render(&handlers, "1.2.3", Format::Prometheus),
    );
    for line in [
        "wasm_sock_build_info{version=\"1.2.3\"} 1",
        "wasm_sock_activations_total{handler=\"hello\"} 2",
        "wasm_sock_served_total{handler=\"hello\",outcome=\"cpu-time\"} 4",
        "wasm_sock_served_total{handler=\"hello\",outcome=\"killed\"} 3",
        "wasm_sock_served_total{handler=\"hello\",outcome=\"ok\"} 0",
        "wasm_sock_cpu_seconds_total{handler=\"hello\"} 1.500000001",
        "wasm_sock_last_client_timestamp_seconds{handler=\"hello\"} 1764362737.000001",
        "wasm_sock_duration_seconds_bucket{handler=\"hello\",le=\"0.00025\"} 5",
        "wasm_sock_duration_seconds_bucket{handler=\"hello\",le=\"60.0\"} 5",
        "wasm_sock_duration_seconds_bucket{handler=\"hello\",le=\"+Inf\"} 6",
        "wasm_sock_duration_seconds_sum{handler=\"hello\"} 61.0",
        "wasm_sock_duration_seconds_count{handler=\"hello\"} 6",
    ] {
        for text in [&open, &text] {
            assert!(text.lines().any(|known| known == line), "{line} is not in {text}");
        }
    }
    assert!(open.contains("# TYPE wasm_sock_served counter\n") && open.ends_with("\n# EOF\n"));
    assert!(open.contains("# UNIT wasm_sock_cpu_seconds seconds\n"));
    assert!(text.contains("# TYPE wasm_sock_served_total counter\n") && !text.contains("# EOF"));
    assert!(text.contains("# TYPE wasm_sock_build_info gauge\n") && !text.contains("# UNIT"));
}

#[test]
fn names_cannot_break_out_of_their_label() {
    let text = render(&[handler("a\"} 1\\")], "1", Format::Prometheus);
    assert!(
        text.contains("wasm_sock_activations_total{handler=\"a\\\"} 1\\\\\"} 2\n"),
        "{text}"
    );
}
