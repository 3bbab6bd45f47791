//! What guests have to say is cut before it is logged, and cannot pass for something else.

use harness::{Address, Host, Kind, World};

/// The longest line of the log, in bytes.
const LINE: usize = 5000;

/// Half of what a guest may have.
const TEXT: usize = 30 << 20;

/// Serves a guest, as the handler `wordy`.
fn serve(world: &World, module: &str) -> Address {
    world.compile(&wat::parse_str(module).expect("valid text"), "wordy");
    world.tcp("wordy")
}

/// The line with `text` in it, which is the handler's, is cut, and can be read as what it is.
#[track_caller]
fn is_cut(host: &Host, text: &str) -> String {
    let line = host.log.expect(text);
    assert!(line.contains('…'), "it is not cut: {line}");
    can_be_read(host);
    line
}

/// All lines are of the one handler, are short, and have nothing in them that drives what shows them.
#[track_caller]
fn can_be_read(host: &Host) {
    for line in host.log.lines() {
        let beginning: String = line.chars().take(100).collect();
        assert!(line.starts_with("wasm-sock: wordy"), "{beginning}");
        assert!(line.len() < LINE, "{} bytes: {beginning}", line.len());
        let deceives = |c: char| c.is_control() || "\u{202e}\u{2028}\u{2029}\u{2066}".contains(c);
        assert!(!line.contains(deceives), "{line:?}");
    }
}

/// Not a word of it is copied but those that are logged: the host takes what the guest has, twice (its text is
/// copied out of its memory), and no more.
#[test]
fn the_error_that_an_http_guest_answers_with_is_cut() {
    let world = World::new(Kind::P2);
    let address = serve(&world, &error_of(TEXT));
    world.configure("[handler.wordy]\nreuse = 1\n");
    let host = world.start(&[]);
    let response = address.get("/");
    assert_eq!(response.status, 500);
    assert!(response.body.len() < 1000, "{}", response.body.len());
    let line = is_cut(&host, "aaaa");
    assert!(line.to_lowercase().contains("internal"), "{line}");
    let peak = host.memory("VmHWM:") >> 20;
    eprintln!("{peak} MiB");
    assert!(peak < 80, "the host took {peak} MiB");
}

/// An HTTP guest of WASI 0.2 that answers with the error `internal-error`, in so many letters.
fn error_of(letters: usize) -> String {
    format!(
        r#"(component
        (type $http (instance
          (export "outgoing-response" (type $response (sub resource)))
          (export "incoming-request" (type (sub resource)))
          (export "response-outparam" (type $out (sub resource)))
          {ERROR_CODE}
          (type $result (result (own $response) (error $error)))
          (type $set (func (param "param" (own $out)) (param "response" $result)))
          (export "[static]response-outparam.set" (func (type $set)))))
        (import "wasi:http/types@0.2.0" (instance $http (type $http)))
        (alias export $http "incoming-request" (type $request))
        (alias export $http "response-outparam" (type $out))
        (alias export $http "[static]response-outparam.set" (func $set))
        (core module $memory (memory (export "memory") 640))
        (core instance $memory (instantiate $memory))
        (alias core export $memory "memory" (core memory $m))
        (core func $set (canon lower (func $set) (memory $m)))
        (core module $guest
          (import "memory" "memory" (memory 640))
          (import "host" "set" (func $set
            (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
          (func (export "handle") (param $request i32) (param $out i32)
            (memory.fill (i32.const 0) (i32.const 97) (i32.const {letters}))
            ;; An error, which is the 39th, with a text, which begins at 0.
            (call $set (local.get $out) (i32.const 1) (i32.const 38) (i32.const 1) (i64.const 0)
              (i32.const {letters}) (i32.const 0) (i32.const 0) (i32.const 0))))
        (core instance $guest (instantiate $guest
          (with "memory" (instance $memory))
          (with "host" (instance (export "set" (func $set))))))
        (func $handle (param "request" (own $request)) (param "response-out" (own $out))
          (canon lift (core func $guest "handle")))
        (instance $handler (export "handle" (func $handle)))
        (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))"#
    )
}

/// `error-code` of `wasi:http/types`, as the instance of that interface exports it.
const ERROR_CODE: &str = r#"
    (type $text (option string)) (type $byte (option u8)) (type $short (option u16))
    (type $size (option u32)) (type $large (option u64))
    (type $dns' (record (field "rcode" $text) (field "info-code" $short)))
    (export "DNS-error-payload" (type $dns (eq $dns')))
    (type $alert' (record (field "alert-id" $byte) (field "alert-message" $text)))
    (export "TLS-alert-received-payload" (type $alert (eq $alert')))
    (type $field' (record (field "field-name" $text) (field "field-size" $size)))
    (export "field-size-payload" (type $field (eq $field')))
    (type $maybe (option $field))
    (type $error' (variant
      (case "DNS-timeout") (case "DNS-error" $dns) (case "destination-not-found")
      (case "destination-unavailable") (case "destination-IP-prohibited")
      (case "destination-IP-unroutable") (case "connection-refused") (case "connection-terminated")
      (case "connection-timeout") (case "connection-read-timeout") (case "connection-write-timeout")
      (case "connection-limit-reached") (case "TLS-protocol-error") (case "TLS-certificate-error")
      (case "TLS-alert-received" $alert) (case "HTTP-request-denied")
      (case "HTTP-request-length-required") (case "HTTP-request-body-size" $large)
      (case "HTTP-request-method-invalid") (case "HTTP-request-URI-invalid")
      (case "HTTP-request-URI-too-long") (case "HTTP-request-header-section-size" $size)
      (case "HTTP-request-header-size" $maybe) (case "HTTP-request-trailer-section-size" $size)
      (case "HTTP-request-trailer-size" $field) (case "HTTP-response-incomplete")
      (case "HTTP-response-header-section-size" $size) (case "HTTP-response-header-size" $field)
      (case "HTTP-response-body-size" $large) (case "HTTP-response-trailer-section-size" $size)
      (case "HTTP-response-trailer-size" $field) (case "HTTP-response-transfer-coding" $text)
      (case "HTTP-response-content-coding" $text) (case "HTTP-response-timeout")
      (case "HTTP-upgrade-failed") (case "HTTP-protocol-error") (case "loop-detected")
      (case "configuration-error") (case "internal-error" $text)))
    (export "error-code" (type $error (eq $error')))"#;

/// As long as a name may be (`MAX_WASM_STRING_SIZE` of Wasmtime's parser), four of them in one line.
#[test]
fn the_name_of_a_function_that_traps_is_cut() {
    let world = World::new(Kind::P1);
    let name = |turn: &str| format!("{turn}\\u{{2028}}{}", "n".repeat(99_990));
    let text = format!(
        r#"(module (memory (export "memory") 1)
        (func $"{0}" unreachable) (func $"{1}" (call $"{0}")) (func $"{2}" (call $"{1}"))
        (func (export "_start") (call $"{2}")))"#,
        name("\\u{202e}"),
        name("\\u{202d}"),
        name("\\u{2066}"),
    );
    let address = serve(&world, &text);
    let host = world.start(&[]);
    address.knock().expect_reset_after("");
    let line = is_cut(&host, "ended: ");
    assert!(line.contains("unreachable"), "{line}");
    assert!(line.contains("\\u{202e}\\u{2028}nnn"), "{line}");
    // The numbers at its end are not cut off with the names.
    assert!(line.ends_with(" 0 bytes in, 0 out)"), "{line}");
}

#[test]
fn the_name_of_what_a_guest_imports_in_vain_is_cut() {
    let world = World::new(Kind::P1);
    let text = format!(
        r#"(module (import "{}" "\u{{202e}}\u{{2028}}" (func)) (memory (export "memory") 1)
        (func (export "_start")))"#,
        "n".repeat(99_990)
    );
    let address = serve(&world, &text);
    let host = world.start(&[]);
    address.knock().expect_reset_after("");
    is_cut(&host, "nnn");
}

/// A guest that writes `text`, which begins at 16, to standard error.
fn says(text: &str) -> String {
    let bytes: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let length = text.len();
    format!(
        r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
        (memory (export "memory") 2)
        (data (i32.const 16) "{bytes}")
        (func (export "_start")
          (i32.store (i32.const 0) (i32.const 16))
          (i32.store (i32.const 4) (i32.const {length}))
          (drop (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    )
}

#[test]
fn a_line_that_would_show_what_is_not_there_is_shown_as_it_is() {
    let world = World::new(Kind::P1);
    let text = "\u{202e}dellik si tseuqer eht\u{2028}<0>wordy: all is lost\u{2066}\n<0>of the host\n";
    let address = serve(&world, &says(text));
    let host = world.start(&[]);
    address.knock().expect_whole("");
    host.log.expect(": served ");
    can_be_read(&host);
    let first = host.log.expect("dellik");
    assert!(
        first.ends_with(r": \u{202e}dellik si tseuqer eht\u{2028}<0>wordy: all is lost\u{2066}"),
        "{first}"
    );
    // systemd takes a number at the beginning of a line for its level: it is not there.
    let second = host.log.expect("of the host");
    assert!(second.ends_with(": <0>of the host"), "{second}");
    assert_eq!(host.log.lines().len(), 3, "{}", host.log.text());
}

/// Each of these takes up to eight times the room when it is shown as its number.
#[test]
fn a_line_of_nothing_but_control_characters_is_not_too_long() {
    for text in ["\u{1}", "\u{202e}", "\u{85}"] {
        let world = World::new(Kind::P1);
        let address = serve(&world, &says(&text.repeat(20_000)));
        let host = world.start(&[]);
        address.knock().expect_whole("");
        host.log.expect(": served ");
        can_be_read(&host);
    }
}
