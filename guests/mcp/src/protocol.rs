//! The messages: JSON-RPC 2.0, one request in, one answer out.
//!
//! Since the revision of 2026-07-28, requests say by themselves which revision they are of and what the client can do.
//! Clients of earlier ones begin with `initialize`; a server that gives them no session may forget them at once.

use serde_json::{Map, Value, json};
use wstd::http::StatusCode;

use crate::tools;

const REVISION: &str = "2026-07-28";
/// Those before it that have the same messages for tools, the newest first.
const EARLIER: [&str; 3] = ["2025-11-25", "2025-06-18", "2025-03-26"];

const META_REVISION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META_SERVER: &str = "io.modelcontextprotocol/serverInfo";

/// How long clients may keep the list of tools, in milliseconds.
const TTL: u64 = 300_000;

/// Why a request gets no result: `error` of JSON-RPC, with the codes that the specifications have.
#[derive(Debug, PartialEq)]
struct Failure {
    code: i32,
    message: String,
    data: Option<Value>,
}

impl Failure {
    fn new(code: i32, message: impl Into<String>) -> Failure {
        Failure {
            code,
            message: message.into(),
            data: None,
        }
    }

    fn invalid_request(message: &str) -> Failure {
        Failure::new(-32600, message)
    }

    fn invalid_params(message: impl Into<String>) -> Failure {
        Failure::new(-32602, message)
    }

    fn header_mismatch(header: &str) -> Failure {
        Failure::new(
            -32020,
            format!("the header {header} is not what the request says"),
        )
    }

    fn status(&self) -> StatusCode {
        match self.code {
            -32601 => StatusCode::NOT_FOUND,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    fn into_answer(self, id: &Value) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(data) = self.data {
            error["data"] = data;
        }
        json!({ "jsonrpc": "2.0", "id": id, "error": error })
    }
}

/// Answers the message in the body of a request whose headers `header` looks up (empty: there is none). A notification
/// gets no answer.
pub fn answer<'a>(header: impl Fn(&str) -> &'a str, body: &[u8]) -> (StatusCode, Option<Value>) {
    let failed = |failure: Failure, id: &Value| (failure.status(), Some(failure.into_answer(id)));
    let Ok(message) = serde_json::from_slice::<Value>(body) else {
        return failed(Failure::new(-32700, "this is not JSON"), &Value::Null);
    };
    let Some(message) = message.as_object() else {
        return failed(
            Failure::invalid_request("this is not one message"),
            &Value::Null,
        );
    };
    // What clients tell, such as that they have begun, changes nothing here.
    let Some(id) = message.get("id") else {
        return (StatusCode::ACCEPTED, None);
    };
    if !(id.is_string() || id.is_number()) {
        return failed(
            Failure::invalid_request("the id is neither a string nor a number"),
            &Value::Null,
        );
    }
    match Call::read(message, header).and_then(|call| call.result()) {
        Ok(result) => (
            StatusCode::OK,
            Some(json!({ "jsonrpc": "2.0", "id": id, "result": result })),
        ),
        Err(failure) => failed(failure, id),
    }
}

/// A request.
struct Call<'a> {
    method: &'a str,
    params: Option<&'a Map<String, Value>>,
    /// Of an earlier revision.
    is_earlier: bool,
}

impl<'a> Call<'a> {
    fn read<'h>(
        message: &'a Map<String, Value>,
        header: impl Fn(&str) -> &'h str,
    ) -> Result<Self, Failure> {
        let is_it = message
            .get("jsonrpc")
            .is_some_and(|version| version == "2.0");
        let method = message
            .get("method")
            .and_then(Value::as_str)
            .filter(|_| is_it);
        let method =
            method.ok_or_else(|| Failure::invalid_request("this is no request of JSON-RPC 2.0"))?;
        let params = message.get("params").and_then(Value::as_object);
        let meta = params
            .and_then(|params| params.get("_meta"))
            .and_then(Value::as_object);
        let mut call = Call {
            method,
            params,
            is_earlier: false,
        };
        let named = header("mcp-protocol-version");
        let Some(revision) = meta.and_then(|meta| meta.get(META_REVISION)) else {
            call.is_earlier = named.is_empty() || EARLIER.contains(&named);
            return match call.is_earlier {
                true => Ok(call),
                false => Err(Failure::invalid_params(format!(
                    "params._meta has no {META_REVISION}"
                ))),
            };
        };
        if revision != named {
            return Err(Failure::header_mismatch("MCP-Protocol-Version"));
        }
        if header("mcp-method") != method {
            return Err(Failure::header_mismatch("Mcp-Method"));
        }
        // The names of tools here are plain ASCII, which is not encoded in a header.
        let name = params
            .and_then(|params| params.get("name"))
            .and_then(Value::as_str);
        if method == "tools/call" && name.is_some_and(|name| name != header("mcp-name")) {
            return Err(Failure::header_mismatch("Mcp-Name"));
        }
        if revision != REVISION {
            let data = json!({ "supported": [REVISION], "requested": revision });
            let unsupported = Failure::new(-32022, "this revision is not supported");
            return Err(Failure {
                data: Some(data),
                ..unsupported
            });
        }
        match meta.is_some_and(|meta| meta.contains_key(META_CAPABILITIES)) {
            true => Ok(call),
            false => Err(Failure::invalid_params(format!(
                "params._meta has no {META_CAPABILITIES}"
            ))),
        }
    }

    fn result(&self) -> Result<Value, Failure> {
        let mut result = match (self.method, self.is_earlier) {
            ("server/discover", false) => json!({
                "supportedVersions": [REVISION],
                "capabilities": { "tools": {} },
                "ttlMs": TTL,
                "cacheScope": "public",
            }),
            ("initialize", true) => return Ok(self.initialized()),
            ("ping", true) => return Ok(json!({})),
            ("tools/list", true) => return Ok(json!({ "tools": tools::list() })),
            ("tools/list", false) => {
                json!({ "tools": tools::list(), "ttlMs": TTL, "cacheScope": "public" })
            }
            ("tools/call", true) => return self.called(),
            ("tools/call", false) => self.called()?,
            (method, _) => {
                return Err(Failure::new(-32601, format!("there is no method {method}")));
            }
        };
        result["resultType"] = "complete".into();
        result["_meta"] = json!({ META_SERVER: server() });
        Ok(result)
    }

    /// The client's revision, if it is one of those before sessions were given up, else the newest of them.
    fn initialized(&self) -> Value {
        let asked = self
            .params
            .and_then(|params| params.get("protocolVersion"))
            .and_then(Value::as_str);
        let revision = asked
            .filter(|asked| EARLIER.contains(asked))
            .unwrap_or(EARLIER[0]);
        json!({ "protocolVersion": revision, "capabilities": { "tools": {} }, "serverInfo": server() })
    }

    /// The result of a tool. What is wrong with its arguments is a result, too: the model reads it and corrects itself.
    fn called(&self) -> Result<Value, Failure> {
        let params = self
            .params
            .ok_or_else(|| Failure::invalid_params("there are no params"))?;
        let name = params
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let arguments = params
            .get("arguments")
            .cloned()
            .unwrap_or_else(|| json!({}));
        let outcome = tools::call(name, arguments);
        let outcome =
            outcome.ok_or_else(|| Failure::invalid_params(format!("there is no tool {name:?}")))?;
        let content = |text: &str| json!([{ "type": "text", "text": text }]);
        Ok(match outcome {
            Ok(value) => {
                json!({ "content": content(&value.to_string()), "structuredContent": value })
            }
            Err(why) => json!({ "content": content(&why), "isError": true }),
        })
    }
}

fn server() -> Value {
    json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") })
}

#[cfg(test)]
mod tests;
