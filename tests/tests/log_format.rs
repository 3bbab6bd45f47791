//! `--log-format`: lines for programs that read the host's standard error.

use std::collections::BTreeSet;

use harness::{Kind, World};
use serde_json::Value;

fn parsed(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
}

#[test]
fn every_line_is_a_json_object_with_the_fields_of_a_record() {
    let world = World::new(Kind::P2);
    let talking = world.actor_port("talking", "stderr", "");
    let trapping = world.actor_port("trapping", "trap-early", "");
    let web = world.web_port("web", "");
    let host = world.start(&["--log-format", "json"]);
    talking.knock();
    trapping.knock();
    web.get("/stderr?said").expect_status(200);
    let served = parsed(&host.log.expect("\"outcome\":\"ok\""));
    for (name, value) in [("handler", "talking"), ("outcome", "ok")] {
        assert_eq!(served[name], value, "{served}");
    }
    for name in [
        "time",
        "priority",
        "exit_code",
        "bytes_in",
        "bytes_out",
        "duration_usec",
        "cpu_usec",
        "memory_peak",
    ] {
        assert!(served[name].is_u64(), "{name} of {served}");
    }
    let trap = parsed(&host.log.expect("\"outcome\":\"trap\""));
    assert!(trap["backtrace"][0]["index"].is_u64(), "{trap}");
    let request = parsed(&host.log.expect("\"path\":\"/stderr\""));
    assert_eq!(request["status"], 200);
    assert_eq!(request["request"], 1);
    let lines: Vec<Value> = host.log.lines().iter().map(|line| parsed(line)).collect();
    assert!(lines.iter().all(|line| line["message"].is_string()));
    let of_talking = lines.iter().filter(|line| line["handler"] == "talking");
    let names: BTreeSet<String> = of_talking.map(|line| line["connection"].to_string()).collect();
    assert_eq!(names.len(), 1, "its lines have one name: {names:?}");
}
