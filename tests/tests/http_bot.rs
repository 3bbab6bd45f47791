//! The example `bot`: a chat service sends it updates, several at a time and again if they fail, and it answers through
//! the service's API, a TLS server whose certificate is of a private authority.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use harness::{Address, Authority, Egress, Host, Kind, World, eventually};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

const SECRET: &str = "what-the-service-sends";
const TOKEN: &str = "110201543:AAHdqTcvCH1vGWJxfSeofSAs0K5PALDsaw";

/// What the API does with a request.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// Answers it with this status. With 200, the message is in the chat.
    Answers(u16),
    /// Lets it wait for another mode.
    Waits,
    /// Breaks the connection off.
    BreaksOff,
}

/// The API of the chat service.
struct Api {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    mode: Mutex<Mode>,
    changed: Condvar,
    /// Requests that have come.
    requests: AtomicUsize,
    /// The messages in all chats.
    messages: Mutex<Vec<(i64, String)>>,
}

impl Api {
    fn new(authority: &Authority) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            mode: Mutex::new(Mode::Answers(200)),
            changed: Condvar::new(),
            requests: AtomicUsize::new(0),
            messages: Mutex::default(),
        });
        let (config, shared) = (authority.server("127.0.0.1", &[]), state.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, state) = (config.clone(), shared.clone());
                thread::spawn(move || state.serve(config, stream));
            }
        });
        Self { address, state }
    }

    fn set(&self, mode: Mode) {
        *self.state.mode.lock().unwrap() = mode;
        self.state.changed.notify_all();
    }

    fn requests(&self) -> usize {
        self.state.requests.load(SeqCst)
    }

    /// The messages in a chat.
    fn messages(&self, chat: i64) -> Vec<String> {
        let messages = self.state.messages.lock().unwrap();
        let in_chat = messages.iter().filter(|(id, _)| *id == chat);
        in_chat.map(|(_, text)| text.clone()).collect()
    }
}

impl State {
    fn serve(&self, config: Arc<ServerConfig>, stream: TcpStream) {
        let mut tls = BufReader::new(StreamOwned::new(ServerConnection::new(config).unwrap(), stream));
        while let Some((line, body)) = request(&mut tls) {
            self.requests.fetch_add(1, SeqCst);
            let mode = self.mode.lock().unwrap();
            let mode = *self.changed.wait_while(mode, |mode| *mode == Mode::Waits).unwrap();
            let Mode::Answers(mut status) = mode else { return };
            if line != format!("POST /bot{TOKEN}/sendMessage HTTP/1.1") {
                status = 404;
            }
            if status == 200 {
                let message: Value = serde_json::from_slice(&body).unwrap();
                let (chat, text) = (message["chat_id"].as_i64(), message["text"].as_str());
                let message = (chat.unwrap(), text.unwrap().to_owned());
                self.messages.lock().unwrap().push(message);
            }
            let body = json!({ "ok": status == 200 }).to_string();
            let length = body.len();
            let head = format!("HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\n\r\n");
            if tls.get_mut().write_all((head + &body).as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// The first line of a request, and its body. `None`: there is no more.
fn request(from: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_lowercase();
    let length = lower.split("\r\ncontent-length: ").nth(1)?.lines().next()?;
    let mut body = vec![0; length.parse().unwrap()];
    from.read_exact(&mut body).ok()?;
    Some((head.lines().next()?.to_owned(), body))
}

/// The bot, as an administrator sets it up, and the API that it calls.
struct Bot {
    egress: Egress,
    service: Service,
    api: Api,
    world: World,
}

impl Bot {
    fn new() -> Self {
        let authority = Authority::new();
        Self::trusting(&authority, &authority)
    }

    /// One that trusts one authority, when the certificate of the API is of another.
    fn trusting(trusted: &Authority, actual: &Authority) -> Self {
        let world = World::new(Kind::P2);
        let api = Api::new(actual);
        world.install("bot", "bot");
        fs::create_dir(world.path("credentials")).unwrap();
        fs::write(world.path("credentials/bot.webhook-secret"), SECRET).unwrap();
        fs::write(world.path("credentials/bot.token"), TOKEN).unwrap();
        let roots = world.path("roots.pem");
        fs::write(&roots, trusted.pem()).unwrap();
        let url = format!("https://{}", api.address);
        world.configure(&format!(
            "[handler.bot]\nkeyvalue = {{ default = \"embedded\" }}\nsecrets = [\"webhook-secret\", \"token\"]\n\
             config = {{ api = \"{url}\" }}\nallow-outbound = [\"POST {url}/bot*\"]\ntls-roots = {roots:?}\n"
        ));
        Self {
            egress: world.egress(),
            service: Service(world.tcp("bot")),
            api,
            world,
        }
    }

    fn start(&self) -> Host {
        let credentials = self.world.path("credentials").display().to_string();
        self.world.launch().env("CREDENTIALS_DIRECTORY", &credentials).start()
    }

    /// The list of a chat, as the bot tells it. `id` is of the update that asks for it.
    fn list(&self, id: i64, chat: i64) -> String {
        self.service.repeat(id, chat, "/list");
        self.api.messages(chat).pop().expect("a message")
    }
}

/// The chat service.
struct Service(Address);

impl Service {
    /// Sends an update as the chat service does; the status of the answer.
    fn send(&self, id: i64, chat: i64, text: &str) -> u16 {
        let secret = format!("X-Telegram-Bot-Api-Secret-Token: {SECRET}\r\n");
        post(&self.0, &secret, &update(id, chat, text))
    }

    /// Sends an update until it is accepted.
    fn repeat(&self, id: i64, chat: i64, text: &str) {
        eventually("the update is accepted", || self.send(id, chat, text) == 200);
    }
}

fn update(id: i64, chat: i64, text: &str) -> String {
    let from = json!({ "id": 1, "is_bot": false, "first_name": "Ada" });
    let message = json!({ "message_id": id, "from": from, "chat": { "id": chat }, "date": 0, "text": text });
    json!({ "update_id": id, "message": message }).to_string()
}

fn post(address: &Address, lines: &str, body: &str) -> u16 {
    let mut http = address.http();
    let length = body.len();
    http.send(format!(
        "POST / HTTP/1.1\r\nHost: bot\r\nContent-Type: application/json\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
    ));
    http.response().status
}

#[test]
fn a_list_is_kept_for_each_chat_and_outlives_the_host() {
    let bot = Bot::new();
    let host = bot.start();
    assert_eq!(bot.service.send(1, 7, "/add milk"), 200, "{}", host.log.text());
    assert_eq!(bot.service.send(2, -100_200, "/add@example_bot bread"), 200);
    assert_eq!(bot.service.send(3, 7, "/add eggs"), 200);
    host.kill();
    let _next = bot.start();
    assert_eq!(bot.list(4, 7), "1. milk\n2. eggs");
    assert_eq!(bot.service.send(5, 7, "/done 1"), 200);
    assert_eq!(bot.list(6, 7), "1. eggs");
    assert_eq!(bot.list(7, -100_200), "1. bread");
    // After an answer that was lost, the service repeats what was handled, perhaps by another process.
    for id in [1, 3, 5] {
        assert_eq!(bot.service.send(id, 7, "/add milk"), 200);
    }
    assert_eq!(
        bot.api.messages(7),
        ["1. milk", "2. eggs", "1. milk\n2. eggs", "Done: milk", "1. eggs"]
    );
}

#[test]
fn updates_that_come_at_the_same_time_are_each_handled_once() {
    const CHATS: i64 = 4;
    const EACH: i64 = 16;
    let bot = Bot::new();
    let _hosts = [bot.start(), bot.start()];
    thread::scope(|scope| {
        for id in 0..CHATS * EACH {
            // Twice at the same time, too.
            for _ in 0..2 {
                let service = &bot.service;
                scope.spawn(move || service.repeat(id, id % CHATS, &format!("/add task {id}")));
            }
        }
    });
    for chat in 0..CHATS {
        let answers = bot.api.messages(chat);
        assert_eq!(answers.len() as i64, EACH, "one answer to each: {answers:#?}");
        let list = bot.list(1000 + chat, chat);
        // Each answer tells the place that its task got: together they are the list.
        let mut lines: Vec<&str> = list.lines().collect();
        let mut told: Vec<&str> = answers.iter().map(String::as_str).collect();
        lines.sort_unstable();
        told.sort_unstable();
        assert_eq!(lines, told);
        for id in (chat..CHATS * EACH).step_by(CHATS as usize) {
            let task = format!(". task {id}");
            assert_eq!(lines.iter().filter(|line| line.ends_with(&task)).count(), 1, "{list}");
        }
    }
}

#[test]
fn an_answer_is_sent_by_one_guest_while_the_service_repeats_the_update() {
    let bot = Bot::new();
    let _hosts = [bot.start(), bot.start()];
    bot.api.set(Mode::Waits);
    thread::scope(|scope| {
        let first = scope.spawn(|| bot.service.send(1, 7, "/add milk"));
        eventually("the API is called", || bot.api.requests() == 1);
        let others: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| bot.service.send(1, 7, "/add milk")))
            .collect();
        for other in others {
            assert_eq!(
                other.join().unwrap(),
                503,
                "it is not handled yet: the service has to ask again"
            );
        }
        bot.api.set(Mode::Answers(200));
        assert_eq!(first.join().unwrap(), 200);
    });
    assert_eq!(bot.service.send(1, 7, "/add milk"), 200);
    assert_eq!(bot.api.messages(7), ["1. milk"]);
    assert_eq!(bot.list(2, 7), "1. milk");
}

#[test]
fn while_the_api_is_down_the_service_repeats_and_nothing_is_lost_or_doubled() {
    let bot = Bot::new();
    let host = bot.start();
    let mut expected = Vec::new();
    let failures = [
        Mode::BreaksOff,
        Mode::Answers(500),
        Mode::Answers(429),
        Mode::Answers(401),
    ];
    for (id, failure) in (1..).zip(failures) {
        bot.api.set(failure);
        let text = format!("/add task {id}");
        for _ in 0..3 {
            assert_eq!(bot.service.send(id, 7, &text), 503);
        }
        bot.api.set(Mode::Answers(200));
        assert_eq!(bot.service.send(id, 7, &text), 200, "{}", host.log.text());
        assert_eq!(bot.service.send(id, 7, &text), 200);
        expected.push(format!("{id}. task {id}"));
    }
    assert_eq!(bot.api.messages(7), expected);
    assert_eq!(bot.list(10, 7), expected.join("\n"));
    // What the API will never take is not repeated for ever.
    bot.api.set(Mode::Answers(403));
    assert_eq!(bot.service.send(11, 7, "/add last"), 200);
    host.log.expect("update 11: the API refuses the answer: 403");
    bot.api.set(Mode::Answers(200));
    assert_eq!(bot.list(12, 7), format!("{}\n5. last", expected.join("\n")));
    for log in [&host.log, &bot.egress.log] {
        assert_eq!(log.count(TOKEN) + log.count(SECRET), 0, "{}", log.text());
    }
}

#[test]
fn without_a_way_out_an_update_waits_for_it() {
    let mut bot = Bot::new();
    let _host = bot.start();
    bot.egress.kill();
    assert_eq!(bot.service.0.get("/").status, 405);
    let secret = format!("X-Telegram-Bot-Api-Secret-Token: {SECRET}\r\n");
    assert_eq!(post(&bot.service.0, &secret, &update(1, 7, "/add milk")), 503);
    bot.egress = bot.world.egress();
    bot.service.repeat(1, 7, "/add milk");
    assert_eq!(bot.api.messages(7), ["1. milk"]);
    assert_eq!(bot.list(2, 7), "1. milk");
}

#[test]
fn a_request_that_is_refused_is_logged_without_the_token_in_its_url() {
    let bot = Bot::new();
    let settings = fs::read_to_string(bot.world.path("config/wasm-sock.toml")).unwrap();
    fs::write(
        bot.world.path("config/wasm-sock.toml"),
        settings.replace("/bot*", "/webhooks/*"),
    )
    .unwrap();
    let host = bot.start();
    assert_eq!(bot.service.send(1, 7, "/add milk"), 503);
    host.log.expect("/bot[secret]/sendMessage was refused");
    assert_eq!(host.log.count(TOKEN), 0, "{}", host.log.text());
}

#[test]
fn a_client_without_the_secret_changes_nothing() {
    let bot = Bot::new();
    let host = bot.start();
    let body = update(1, 7, "/add milk");
    let name = "X-Telegram-Bot-Api-Secret-Token";
    for lines in [
        String::new(),
        format!("{name}:\r\n"),
        format!("{name}: guessed\r\n"),
        format!("{name}: {SECRET}s\r\n"),
        format!("{name}: {TOKEN}\r\n"),
        format!("Authorization: Bearer {SECRET}\r\n"),
    ] {
        assert_eq!(post(&bot.service.0, &lines, &body), 401, "{lines}");
    }
    assert_eq!(bot.api.requests(), 0);
    let secret = format!("{name}: {SECRET}\r\n");
    assert_eq!(post(&bot.service.0, &secret, "{"), 400);
    assert_eq!(post(&bot.service.0, &secret, &update(1, 7, &"x".repeat(300_000))), 413);
    assert_eq!(post(&bot.service.0, &secret, r#"{"update_id":1,"poll":{}}"#), 200);
    assert_eq!(bot.list(2, 7), "Nothing to do.");
    // Without a secret, there is no service that could be told from others.
    host.kill();
    fs::write(bot.world.path("credentials/bot.webhook-secret"), "").unwrap();
    let next = bot.start();
    assert_eq!(post(&bot.service.0, &format!("{name}:\r\n"), &body), 500);
    next.log.expect("`webhook-secret` is not set");
}

#[test]
fn the_token_is_sent_to_no_server_with_a_certificate_of_another_authority() {
    let bot = Bot::trusting(&Authority::new(), &Authority::new());
    let host = bot.start();
    assert_eq!(bot.service.send(1, 7, "/add milk"), 503);
    host.log.expect("TlsCertificateError");
    assert_eq!(bot.api.requests(), 0);
}
