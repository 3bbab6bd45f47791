use std::fs;
use std::path::{Path, PathBuf};

use crate::answer;
use crate::menu::Server;
use crate::selector::{ItemType, Refusal, resolve};
use crate::transfer;

/// A directory of this test's own, gone when the test is over.
struct Hole(PathBuf);

impl Hole {
    fn dig(test: &str) -> Hole {
        let path = std::env::temp_dir().join(format!("gopher-{}-{test}", std::process::id()));
        fs::create_dir_all(path.join("docs")).unwrap();
        Hole(path)
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.0.join(name), content).unwrap();
    }

    fn ask(&self, request: &[u8]) -> Vec<u8> {
        ask(&self.0, request)
    }

    fn ask_text(&self, request: &str) -> String {
        String::from_utf8(self.ask(request.as_bytes())).unwrap()
    }
}

impl Drop for Hole {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn ask(root: &Path, request: &[u8]) -> Vec<u8> {
    let server = Server {
        host: "gopher.example".into(),
        port: "7070".into(),
    };
    let mut reply = Vec::new();
    answer(root, &server, request, &mut reply).unwrap();
    reply
}

#[test]
fn an_empty_selector_lists_the_root_sorted_and_typed() {
    let hole = Hole::dig("list");
    for name in ["README", "b.PNG", "c.gif", "d.html", "e.tar", ".secret"] {
        hole.put(name, "");
    }
    let expected = "0README\t/README\tgopher.example\t7070\r\n\
                    Ib.PNG\t/b.PNG\tgopher.example\t7070\r\n\
                    gc.gif\t/c.gif\tgopher.example\t7070\r\n\
                    hd.html\t/d.html\tgopher.example\t7070\r\n\
                    1docs\t/docs\tgopher.example\t7070\r\n\
                    9e.tar\t/e.tar\tgopher.example\t7070\r\n\
                    .\r\n";
    for request in ["\r\n", "\n", "", "/\r\n", "\t+\r\n"] {
        assert_eq!(hole.ask_text(request), expected, "for {request:?}");
    }
}

#[test]
fn a_gophermap_takes_the_place_of_the_list() {
    let hole = Hole::dig("map");
    hole.put(
        "docs/gophermap",
        "Welcome\n\n1Up\t/\n0here.txt\t\n0There\tx\tfar.example\t71\n1Web\tURL:http://x\n.\ncut",
    );
    assert_eq!(
        hole.ask_text("docs\r\n"),
        "iWelcome\t\terror.host\t1\r\n\
         i\t\terror.host\t1\r\n\
         1Up\t/\tgopher.example\t7070\r\n\
         0here.txt\t/docs/here.txt\tgopher.example\t7070\r\n\
         0There\tx\tfar.example\t71\r\n\
         1Web\tURL:http://x\tgopher.example\t7070\r\n\
         .\r\n"
    );
}

#[test]
fn every_item_of_a_list_can_be_fetched_by_its_selector() {
    let hole = Hole::dig("fetch");
    hole.put("docs/a b.txt", "found");
    let menu = hole.ask_text("/docs/\r\n");
    let selector = menu.split('\t').nth(1).unwrap();
    assert_eq!(hole.ask_text(&format!("{selector}\r\n")), "found\r\n.\r\n");
}

#[test]
fn a_text_gets_network_line_ends_stuffed_dots_and_an_end() {
    let cases = [
        ("", ".\r\n"),
        ("a\nb\n", "a\r\nb\r\n.\r\n"),
        ("a\r\nb", "a\r\nb\r\n.\r\n"),
        (".\n..\n a.\n", "..\r\n...\r\n a.\r\n.\r\n"),
        ("\n\n.", "\r\n\r\n..\r\n.\r\n"),
    ];
    for (text, expected) in cases {
        for chunk in 1..=text.len().max(1) {
            let mut sent = Vec::new();
            let reader = std::io::BufReader::with_capacity(chunk, text.as_bytes());
            transfer::text(reader, &mut sent).unwrap();
            let sent = String::from_utf8(sent).unwrap();
            assert_eq!(sent, expected, "{text:?} by {chunk}");
        }
    }
}

#[test]
fn a_binary_file_travels_as_it_is() {
    let hole = Hole::dig("binary");
    let bytes: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
    hole.put("blob.bin", &bytes);
    assert!(hole.ask(b"/blob.bin\r\n") == bytes);
}

#[test]
fn a_selector_cannot_leave_the_directory_or_find_what_is_hidden() {
    for selector in [
        "..",
        "/../x",
        "/a/../../x",
        "/./a",
        "//etc",
        "/a//b",
        "/.git/config",
    ] {
        assert_eq!(resolve(selector), Err(Refusal::NotFound), "{selector:?}");
    }
    for selector in ["a\0b", "a\rb", "\u{7f}", &"x".repeat(256)] {
        assert_eq!(resolve(selector), Err(Refusal::Malformed), "{selector:?}");
    }
    assert_eq!(resolve("/etc/passwd"), Ok("/etc/passwd".into()));
    assert_eq!(resolve(&"x".repeat(255)).unwrap().len(), 256);
}

#[test]
fn a_bad_request_is_answered_with_an_error_item() {
    let hole = Hole::dig("bad");
    let long = vec![b'x'; 100_000];
    let requests: [&[u8]; 6] = [
        b"/none",
        b"/../x",
        b"\xff\xfe\r\n",
        b"a\0b\r\n",
        b"/docs/x/y",
        &long,
    ];
    for request in requests {
        let reply = String::from_utf8(hole.ask(request)).unwrap();
        assert!(reply.starts_with('3'), "{request:?} got {reply:?}");
        assert!(
            reply.ends_with("\terror.host\t1\r\n.\r\n"),
            "{request:?} got {reply:?}"
        );
    }
}

#[test]
fn a_directory_that_is_not_there_is_an_error_item_too() {
    let reply = ask(Path::new("/does/not/exist"), b"\r\n");
    assert!(reply.starts_with(b"3"));
}

#[test]
fn the_type_of_a_file_is_told_by_its_extension() {
    assert_eq!(ItemType::of_file("/a.b/README"), ItemType::Text);
    assert_eq!(ItemType::of_file("notes.TXT"), ItemType::Text);
    assert_eq!(ItemType::of_file("a.wasm"), ItemType::Binary);
}
