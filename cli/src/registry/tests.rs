//! Registries that lie, hang, send too much or elsewhere; in a real one: `tests/tests/registry.rs`.

use super::artifact::Artifact;
use super::connection::{Connection, Patience};
use super::{Digest, Reference, pull, push};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A core module without anything in it.
const WASM: &[u8] = b"\0asm\x01\0\0\0";

/// A request: its first line, and its headers in lower case.
struct Asked {
    line: String,
    headers: String,
}

impl Asked {
    fn is(&self, method: &str, path: &str) -> bool {
        self.line.starts_with(&format!("{method} {path} "))
    }
}

/// A server of this process. The answer is sent as it is, and the connection is closed.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    fn start(answer: impl Fn(&Asked) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let Some(request) = read_head(&mut stream) else {
                    continue;
                };
                let answer = answer(&request);
                seen.lock().unwrap().push(request);
                // The client may leave in the middle.
                let _ = stream.write_all(&answer);
            }
        });
        Self { address, asked }
    }

    fn reference(&self, rest: &str) -> Reference {
        format!("oci://{}/lies{rest}", self.address).parse().unwrap()
    }

    fn pull(&self, digest: &Digest) -> Result<Vec<u8>, String> {
        talk(&self.reference(&format!("@{digest}")), async |connection| {
            pull::module(&connection).await
        })
    }
}

fn read_head(stream: &mut TcpStream) -> Option<Asked> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let (line, headers) = head.split_once("\r\n")?;
    Some(Asked {
        line: line.to_owned(),
        headers: headers.to_ascii_lowercase(),
    })
}

fn talk<T>(reference: &Reference, talk: impl AsyncFnOnce(Connection) -> Result<T, String>) -> Result<T, String> {
    let patience = Patience {
        connect: Duration::from_secs(5),
        idle: Duration::from_millis(300),
        total: Duration::from_secs(20),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(talk(Connection::new(reference, patience).unwrap()))
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n");
    [head.as_bytes(), body].concat()
}

/// The manifest of [`WASM`], and its digest.
fn manifest() -> (Vec<u8>, Digest) {
    let artifact = Artifact::of(WASM, "a.wasm", None).unwrap();
    let digest = Digest::of(&artifact.manifest);
    (artifact.manifest, digest)
}

/// Pulls from a registry that sends this manifest, whose digest is right, and this blob.
fn pull_with(manifest: &str, blob: &'static [u8]) -> String {
    let manifest = manifest.to_owned();
    let digest = Digest::of(manifest.as_bytes());
    let server = Server::start(move |asked| match asked.line.contains("/manifests/") {
        true => answer("200 OK", "", manifest.as_bytes()),
        false => answer("200 OK", "", blob),
    });
    server.pull(&digest).unwrap_err()
}

#[test]
fn what_has_the_right_digest_is_pulled() {
    let (manifest, digest) = manifest();
    let server = Server::start(move |asked| match asked.line.contains("/manifests/") {
        true => answer("200 OK", "", &manifest),
        false => answer("200 OK", "", WASM),
    });
    assert_eq!(server.pull(&digest).unwrap(), WASM);
}

#[test]
fn another_manifest_or_module_than_was_asked_for_is_refused() {
    let (manifest, digest) = manifest();
    let other = Digest::of(b"other");
    let copy = manifest.clone();
    let server = Server::start(move |asked| match asked.line.contains("/manifests/") {
        true => answer("200 OK", &format!("docker-content-digest: {other}\r\n"), &copy),
        false => answer("200 OK", "", b"\0asm\x01\0\0\x01"),
    });
    let why = server.pull(&Digest::of(b"other")).unwrap_err();
    assert!(
        why.contains("sends something else") && why.contains(&digest.to_string()),
        "{why}"
    );
    let why = server.pull(&digest).unwrap_err();
    assert!(
        why.contains("sends something else") && why.contains("asked for sha256:"),
        "{why}"
    );
}

#[test]
fn more_than_was_promised_is_not_read() {
    let (manifest, digest) = manifest();
    // Endless: it ends when the client leaves.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sent = thread::spawn(move || {
        let mut sent = 0;
        for (stream, body) in listener.incoming().zip([Some(manifest), None]) {
            let mut stream = stream.unwrap();
            read_head(&mut stream).unwrap();
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
                .unwrap();
            match body {
                Some(body) => stream.write_all(&body).unwrap(),
                None => {
                    while stream.write_all(&[0; 4096]).is_ok() {
                        sent += 4096;
                    }
                    return sent;
                }
            }
        }
        sent
    });
    let reference = format!("oci://{address}/lies@{digest}").parse().unwrap();
    let why = talk(&reference, async |connection| pull::module(&connection).await).unwrap_err();
    assert!(why.contains("more than the 8 bytes"), "{why}");
    let sent = sent.join().unwrap();
    // What fits into the sockets' buffers.
    assert!(sent < 32 << 20, "the client has read {sent} bytes");
}

#[test]
fn an_endless_manifest_ends_at_the_limit() {
    let server = Server::start(|_| answer("200 OK", "", &vec![b' '; (4 << 20) + 1]));
    let why = server.pull(&Digest::of(b"")).unwrap_err();
    assert!(why.contains("more than the 4194304 bytes"), "{why}");
}

#[test]
fn a_registry_that_hangs_is_left() {
    for (what, said) in [
        ("at once", ""),
        ("in the middle", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let hanging = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_head(&mut stream).unwrap();
            stream.write_all(said.as_bytes()).unwrap();
            // Until the client leaves.
            let _ = stream.read(&mut [0]);
        });
        let reference = format!("oci://{address}/lies@{}", Digest::of(b"")).parse().unwrap();
        let begin = Instant::now();
        let why = talk(&reference, async |connection| pull::module(&connection).await).unwrap_err();
        assert!(why.contains("does not answer (for 0.3 s)"), "{what}: {why}");
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{what}: {:?}",
            begin.elapsed()
        );
        hanging.join().unwrap();
    }
}

#[test]
fn a_redirect_of_a_local_registry_leads_to_this_machine_or_to_tls() {
    for (location, is_followed) in [
        ("http://192.0.2.1/secret", false),
        ("http://localhost.example.org/", false),
        ("ftp://127.0.0.1/", false),
        ("file:///etc/shadow", false),
        ("http://name:word@127.0.0.1/", false),
    ] {
        let header = format!("location: {location}\r\n");
        let server = Server::start(move |_| answer("307 Temporary Redirect", &header, b""));
        let why = server.pull(&Digest::of(b"")).unwrap_err();
        assert_eq!(!why.contains("is not followed"), is_followed, "{location}: {why}");
        assert!(!why.contains("word"), "{why}");
    }
}

#[test]
fn a_redirect_is_followed_three_times_and_takes_no_authorization_along() {
    let (manifest, digest) = manifest();
    let elsewhere = Server::start(|_| answer("200 OK", "", WASM));
    let location = format!("location: http://{}/blob\r\n", elsewhere.address);
    let server = Server::start(move |asked| {
        if asked.is("GET", "/token?scope=repository%3Alies%3Apull&service=x") {
            return answer("200 OK", "", br#"{"token":"t0k3n"}"#);
        }
        if !asked.headers.contains("authorization: bearer t0k3n") {
            let host = asked
                .headers
                .split("host: ")
                .nth(1)
                .unwrap()
                .split('\r')
                .next()
                .unwrap();
            let challenge = format!("www-authenticate: Bearer realm=\"http://{host}/token\",service=\"x\"\r\n");
            return answer("401 Unauthorized", &challenge, b"");
        }
        match asked.line.contains("/manifests/") {
            true => answer("200 OK", "", &manifest),
            false => answer("307 Temporary Redirect", &location, b""),
        }
    });
    assert_eq!(server.pull(&digest).unwrap(), WASM);
    let asked = elsewhere.asked.lock().unwrap();
    assert_eq!(asked.len(), 1);
    assert!(!asked[0].headers.contains("authorization"), "{}", asked[0].headers);

    let endless = Server::start(|_| answer("302 Found", "location: /again\r\n", b""));
    let why = endless.pull(&digest).unwrap_err();
    assert!(why.contains("redirects again and again"), "{why}");
}

#[test]
fn a_token_is_not_asked_for_where_there_is_no_tls() {
    for realm in ["http://192.0.2.1/token", "nonsense", ""] {
        let challenge = format!("www-authenticate: Bearer realm=\"{realm}\"\r\n");
        let server = Server::start(move |_| answer("401 Unauthorized", &challenge, b""));
        let why = server.pull(&Digest::of(b"")).unwrap_err();
        assert!(why.contains("token"), "{realm}: {why}");
        assert_eq!(server.asked.lock().unwrap().len(), 1);
    }
}

#[test]
fn an_upload_stays_with_the_registry() {
    let server = Server::start(|asked| match asked.line.starts_with("POST ") {
        true => answer("202 Accepted", "location: http://127.0.0.1:1/upload\r\n", b""),
        false => answer("404 Not Found", "", b""),
    });
    let artifact = Artifact::of(WASM, "a.wasm", None).unwrap();
    let why = talk(&server.reference(""), async |connection| {
        push::upload(&connection, WASM, artifact).await
    });
    let why = why.unwrap_err();
    assert!(why.contains("another host, 127.0.0.1:1"), "{why}");
}

#[test]
fn an_error_of_the_registry_is_told_and_cannot_move_the_cursor() {
    let server = Server::start(|_| {
        let body = br#"{"errors":[{"code":"X","message":"over\u001b[2Jquota\n"}]}"#;
        answer("429 Too Many Requests", "", body)
    });
    let why = server.pull(&Digest::of(b"")).unwrap_err();
    assert!(
        why.ends_with("answers 429 Too Many Requests: over[2Jquota (try again later)"),
        "{why}"
    );
}

#[test]
fn what_is_no_module_says_what_it_is() {
    let layer = |media: &str, size: u64| {
        let digest = Digest::of(b"\x7fELF");
        format!(r#"{{"mediaType":"{media}","digest":"{digest}","size":{size}}}"#)
    };
    let with = |layers: &str| {
        format!(
            r#"{{"schemaVersion":2,"config":{},"layers":[{layers}]}}"#,
            layer("x", 2)
        )
    };
    let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let tar = layer("application/vnd.oci.image.layer.v1.tar+gzip", 4);
    let wasm = layer("application/wasm", 4);
    let twice = format!("{wasm},{wasm}");
    let huge = layer("application/wasm", u64::MAX);
    let evil = wasm.replace("sha256:", "../../sha256:");
    for (manifest, words) in [
        ("[]".to_owned(), "there is no manifest"),
        (index.to_owned(), "an index of several"),
        (with(&tar), "tar+gzip"),
        (with(&twice), "it has 2 layers"),
        (with(&huge), "at most 512 are pulled"),
        (with(&evil), "is no digest"),
        // Machine code.
        (with(&wasm), "does not begin with"),
    ] {
        let why = pull_with(&manifest, b"\x7fELF");
        assert!(why.contains(words), "{manifest}: {why}");
    }
}

#[test]
fn a_tag_is_refused_with_the_command_for_what_it_is() {
    let (manifest, digest) = manifest();
    let server = Server::start(move |_| answer("200 OK", "", &manifest));
    let reference = server.reference(":1.0");
    let why = talk(&reference, async |connection| pull::module(&connection).await).unwrap_err();
    let line = format!("wasm-sock install oci://{}/lies@{digest}", server.address);
    assert!(why.contains(&line), "{why}");
}

#[test]
fn an_artifact_says_what_the_module_imports_and_is_the_same_each_time() {
    let artifact = Artifact::of(WASM, "a.wasm", None).unwrap();
    let again = Artifact::of(WASM, "a.wasm", None).unwrap();
    assert_eq!(artifact.manifest, again.manifest);
    let config = String::from_utf8(artifact.config).unwrap();
    assert!(
        config.contains(r#""os":"wasip1""#) && !config.contains("component"),
        "{config}"
    );
    assert!(Artifact::of(b"\x7fELF", "a", None).is_err());
}
