use super::*;

fn answered(headers: &[(&str, &str)], message: Value) -> (u16, Value) {
    raw(headers, message.to_string().as_bytes())
}

fn raw(headers: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
    let header = |name: &str| {
        headers
            .iter()
            .find(|(known, _)| *known == name)
            .map_or("", |(_, value)| value)
    };
    let (status, answer) = answer(header, body);
    (status.as_u16(), answer.unwrap_or_default())
}

/// A request of the current revision.
fn current(method: &str, mut params: Value) -> (u16, Value) {
    let name = params["name"].as_str().unwrap_or_default().to_owned();
    let headers = [
        ("mcp-protocol-version", REVISION),
        ("mcp-method", method),
        ("mcp-name", &name),
    ];
    params["_meta"] = json!({ META_REVISION: REVISION, META_CAPABILITIES: {} });
    answered(
        &headers,
        json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }),
    )
}

fn earlier(method: &str, params: Value) -> (u16, Value) {
    answered(
        &[],
        json!({ "jsonrpc": "2.0", "id": "a", "method": method, "params": params }),
    )
}

#[test]
fn a_client_discovers_lists_and_calls_without_a_session() {
    let (status, answer) = current("server/discover", json!({}));
    assert_eq!((status, &answer["id"]), (200, &json!(7)));
    assert_eq!(answer["result"]["supportedVersions"], json!([REVISION]));
    assert_eq!(answer["result"]["resultType"], "complete");
    let (_, answer) = current("tools/list", json!({}));
    assert_eq!(answer["result"]["tools"][0]["name"], "count_letters");
    let call =
        json!({ "name": "count_letters", "arguments": { "text": "Strawberry", "letter": "r" } });
    let (status, answer) = current("tools/call", call);
    assert_eq!(status, 200);
    assert_eq!(answer["result"]["structuredContent"], json!({ "count": 3 }));
    assert_eq!(answer["result"]["content"][0]["text"], "{\"count\":3}");
}

#[test]
fn a_client_of_an_earlier_revision_begins_with_initialize() {
    for (asked, got) in [
        ("2025-06-18", "2025-06-18"),
        ("2024-11-05", EARLIER[0]),
        ("2031-01-01", EARLIER[0]),
    ] {
        let (status, answer) = earlier(
            "initialize",
            json!({ "protocolVersion": asked, "capabilities": {} }),
        );
        assert_eq!(
            (status, &answer["result"]["protocolVersion"]),
            (200, &json!(got))
        );
    }
    let begun = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    assert_eq!(answered(&[], begun), (202, Value::Null));
    assert_eq!(earlier("ping", json!({})).1["result"], json!({}));
    let (_, answer) = earlier(
        "tools/call",
        json!({ "name": "roll_dice", "arguments": { "dice": 2, "sides": 6 } }),
    );
    assert_eq!(
        answer["result"]["structuredContent"]["numbers"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
    assert_eq!(answer["result"].get("resultType"), None);
}

#[test]
fn wrong_arguments_are_for_the_model_and_wrong_names_for_the_client() {
    let (status, answer) = current(
        "tools/call",
        json!({ "name": "count_letters", "arguments": { "text": "x" } }),
    );
    assert_eq!((status, &answer["result"]["isError"]), (200, &json!(true)));
    let text = answer["result"]["content"][0]["text"].as_str().unwrap();
    assert!(text.contains("missing field `letter`"), "{text}");
    let (status, answer) = current("tools/call", json!({ "name": "rm" }));
    assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32602)));
    let (status, answer) = current("resources/list", json!({}));
    assert_eq!((status, &answer["error"]["code"]), (404, &json!(-32601)));
}

#[test]
fn headers_that_disagree_with_the_request_are_refused() {
    let meta = json!({ META_REVISION: REVISION, META_CAPABILITIES: {} });
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "roll_dice", "_meta": meta } });
    let right = [
        ("mcp-protocol-version", REVISION),
        ("mcp-method", "tools/call"),
        ("mcp-name", "roll_dice"),
    ];
    assert_eq!(answered(&right, message.clone()).0, 200);
    for index in 0..3 {
        let mut wrong = right;
        wrong[index].1 = "other";
        let (status, answer) = answered(&wrong, message.clone());
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!(-32020)),
            "{wrong:?}"
        );
    }
    let without = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {} });
    assert_eq!(answered(&right[..1], without).1["error"]["code"], -32602);
}

#[test]
fn an_unknown_revision_is_told_which_there_are() {
    let meta = json!({ META_REVISION: "2031-01-01", META_CAPABILITIES: {} });
    let message =
        json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "_meta": meta } });
    let headers = [
        ("mcp-protocol-version", "2031-01-01"),
        ("mcp-method", "tools/list"),
    ];
    let (status, answer) = answered(&headers, message);
    assert_eq!((status, &answer["error"]["code"]), (400, &json!(-32022)));
    assert_eq!(
        answer["error"]["data"],
        json!({ "supported": [REVISION], "requested": "2031-01-01" })
    );
}

#[test]
fn what_is_no_message_is_refused() {
    for (body, code) in [
        ("", -32700),
        ("{", -32700),
        ("[]", -32600),
        ("\"x\"", -32600),
        (
            "{\"id\":null,\"method\":\"ping\",\"jsonrpc\":\"2.0\"}",
            -32600,
        ),
        (
            "{\"id\":{},\"method\":\"ping\",\"jsonrpc\":\"2.0\"}",
            -32600,
        ),
        ("{\"id\":1,\"method\":\"ping\"}", -32600),
        ("{\"id\":1,\"jsonrpc\":\"2.0\"}", -32600),
    ] {
        let (status, answer) = raw(&[], body.as_bytes());
        assert_eq!(
            (status, &answer["error"]["code"]),
            (400, &json!(code)),
            "{body}"
        );
    }
    let deep = "[".repeat(100_000);
    assert_eq!(raw(&[], deep.as_bytes()).1["error"]["code"], -32700);
}
