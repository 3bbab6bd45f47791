//! A client of HTTP/2 that keeps to the rules: the crate `h2`. What breaks them is sent with [`crate::frames`].
//!
//! The connection goes on in a thread of its own, so that it answers the host's pings while a test waits for
//! something else. What a test waits for must come within [`PATIENCE`].

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::client::{self, ResponseFuture, SendRequest};
use h2::{Error, Reason, RecvStream, SendStream};
use http::{HeaderMap, Method, Request, response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::{Address, Client, PATIENCE};

/// What `/hello` of the `http-actor` answers.
pub const HELLO: (u16, &[u8]) = (200, b"hello\n");

/// A connection.
pub struct Http2 {
    runtime: Runtime,
    requests: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), Error>>,
    /// The same socket.
    socket: Client,
}

/// A request, and what came of its answer. It is cancelled when this is dropped before its end.
pub struct Exchange {
    runtime: Handle,
    upload: SendStream<Bytes>,
    response: ResponseFuture,
    answer: Option<(response::Parts, RecvStream)>,
    /// What came of the body.
    came: Vec<u8>,
    /// Whether it is whole, once it has ended.
    end: Option<Result<(), Reason>>,
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Address {
    /// A connection of HTTP/2.
    #[track_caller]
    pub fn http2(&self) -> Http2 {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("start a thread");
        let socket = self.connect();
        let (requests, connection) = wait(runtime.handle(), "a connection", async {
            client::handshake(stream(&socket)).await.expect("send the preface")
        });
        Http2 {
            connection: runtime.spawn(connection),
            runtime,
            requests,
            socket,
        }
    }
}

/// The client's socket as tokio has it.
fn stream(client: &Client) -> Box<dyn Stream> {
    match client.second().into_socket() {
        Ok(tcp) => {
            tcp.set_nonblocking(true).expect("set O_NONBLOCK");
            Box::new(TcpStream::from_std(tcp).expect("register a socket"))
        }
        Err(unix) => {
            unix.set_nonblocking(true).expect("set O_NONBLOCK");
            Box::new(UnixStream::from_std(unix).expect("register a socket"))
        }
    }
}

/// The result of what must come to an end within [`PATIENCE`].
#[track_caller]
fn wait<T>(runtime: &Handle, what: &str, future: impl Future<Output = T>) -> T {
    let result = runtime.block_on(async { timeout(PATIENCE, future).await });
    result.unwrap_or_else(|_| panic!("{what} did not come within {PATIENCE:?}"))
}

impl Http2 {
    /// Sends a request, whose body follows unless it `is_whole`.
    #[track_caller]
    pub fn request(&mut self, method: &str, target: &str, headers: &[(&str, &str)], is_whole: bool) -> Exchange {
        self.try_request(method, target, headers, is_whole)
            .unwrap_or_else(|error| panic!("cannot ask for {target}: {error}"))
    }

    /// As [`Self::request`].
    ///
    /// # Errors
    /// If the host takes no more requests on this connection.
    pub fn try_request(
        &mut self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        is_whole: bool,
    ) -> Result<Exchange, Error> {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let mut request = Request::builder().method(method).uri(format!("http://test{target}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let runtime = self.runtime.handle();
        wait(
            runtime,
            "room for a request",
            poll_fn(|context| self.requests.poll_ready(context)),
        )?;
        let (response, upload) = self.requests.send_request(request, is_whole)?;
        Ok(Exchange {
            runtime: runtime.clone(),
            upload,
            response,
            answer: None,
            came: Vec::new(),
            end: None,
        })
    }

    /// Asks with GET.
    #[track_caller]
    pub fn ask(&mut self, target: &str) -> Exchange {
        self.request("GET", target, &[], true)
    }

    /// Begins a POST.
    #[track_caller]
    pub fn post(&mut self, target: &str) -> Exchange {
        self.request("POST", target, &[], false)
    }

    /// The answer to a GET.
    #[track_caller]
    pub fn get(&mut self, target: &str) -> (u16, Vec<u8>) {
        self.ask(target).answer()
    }

    /// The GET of `/hello` is answered.
    #[track_caller]
    pub fn expect_hello(&mut self) {
        let (status, body) = self.get("/hello");
        assert_eq!((status, &body[..]), HELLO);
    }

    /// Why the host takes no more requests (GOAWAY), if it does not.
    ///
    /// # Panics
    /// If the connection has failed.
    pub fn goodbye(&mut self) -> Option<Reason> {
        let state = poll_fn(|context| Poll::Ready(self.requests.poll_ready(context)));
        match self.runtime.block_on(state) {
            Poll::Ready(Err(error)) if error.is_go_away() && error.is_remote() => error.reason(),
            Poll::Ready(Err(error)) => panic!("the connection failed: {error}"),
            Poll::Ready(Ok(())) | Poll::Pending => None,
        }
    }

    /// The connection ends, and without an error.
    #[track_caller]
    pub fn expect_end(self) {
        let Self {
            runtime,
            requests,
            connection,
            ..
        } = self;
        let end = wait(runtime.handle(), "the end of the connection", connection);
        drop(requests);
        end.expect("the task goes on").expect("the connection ends well");
    }

    /// Resets the connection.
    pub fn vanish(self) {
        let Self { runtime, socket, .. } = self;
        drop(runtime);
        socket.vanish();
    }
}

impl Exchange {
    /// Takes what came of the answer. Ready: all of it came, or it was reset.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        if let Some(end) = self.end {
            return Poll::Ready(end);
        }
        let end = self.poll_answer(context);
        if let Poll::Ready(end) = end {
            self.end = Some(end);
        }
        end
    }

    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        if self.poll_head(context)?.is_pending() {
            return Poll::Pending;
        }
        let (_, body) = self.answer.as_mut().expect("the head came");
        while let Some(data) = std::task::ready!(body.poll_data(context)) {
            let data = data.map_err(reason)?;
            self.came.extend(&data);
            // So that more may come.
            body.flow_control()
                .release_capacity(data.len())
                .expect("release what came");
        }
        Poll::Ready(Ok(()))
    }

    fn poll_head(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Reason>> {
        if self.answer.is_none() {
            let response = std::task::ready!(Pin::new(&mut self.response).poll(context));
            self.answer = Some(response.map_err(reason)?.into_parts());
        }
        Poll::Ready(Ok(()))
    }

    /// Waits for the head of the answer, and takes nothing of the body.
    #[track_caller]
    fn head(&mut self) -> &response::Parts {
        let runtime = self.runtime.clone();
        if let Err(reason) = wait(&runtime, "an answer", poll_fn(|context| self.poll_head(context))) {
            panic!("no answer, but {reason}");
        }
        let (head, _) = self.answer.as_ref().expect("the head came");
        head
    }

    /// Has the head of the answer come?
    pub fn is_answered(&mut self) -> bool {
        let runtime = self.runtime.clone();
        let head = poll_fn(|context| Poll::Ready(self.poll_head(context).is_ready()));
        runtime.block_on(head)
    }

    /// Has the answer ended, well or not? Takes what came of it.
    pub fn has_ended(&mut self) -> bool {
        let runtime = self.runtime.clone();
        runtime.block_on(poll_fn(|context| Poll::Ready(self.poll(context).is_ready())))
    }

    #[track_caller]
    pub fn status(&mut self) -> u16 {
        self.head().status.as_u16()
    }

    #[track_caller]
    pub fn header(&mut self, name: &str) -> Option<String> {
        let value = self.head().headers.get(name)?;
        Some(value.to_str().expect("text").to_owned())
    }

    /// Waits until something of the body is here, and lets no more come.
    #[track_caller]
    pub fn expect_data(&mut self) {
        self.head();
        let (_, body) = self.answer.as_mut().expect("the head came");
        let data = wait(&self.runtime, "a body", body.data());
        let data = data.expect("a body").expect("a body");
        self.came.extend(&data);
    }

    /// Waits until this came of the body, and no more.
    #[track_caller]
    pub fn expect_body(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        let runtime = self.runtime.clone();
        let end = wait(
            &runtime,
            "the next part of a body",
            poll_fn(|context| {
                let end = self.poll(context);
                match self.came.len() < expected.len() {
                    true => end.map(Some),
                    false => Poll::Ready(None),
                }
            }),
        );
        assert_eq!(end, None, "it ended with {:?}", self.came);
        assert_eq!(self.came, expected);
    }

    /// The status and the body, which must be whole.
    #[track_caller]
    pub fn answer(&mut self) -> (u16, Vec<u8>) {
        let runtime = self.runtime.clone();
        if let Err(reason) = wait(&runtime, "an answer", poll_fn(|context| self.poll(context))) {
            panic!("the answer was reset ({reason}) after {:?}", self.came);
        }
        (self.status(), self.came.clone())
    }

    /// The headers after the body.
    #[track_caller]
    pub fn trailers(&mut self) -> HeaderMap {
        self.answer();
        let (_, body) = self.answer.as_mut().expect("the head came");
        let trailers = wait(&self.runtime, "trailers", body.trailers());
        trailers.expect("trailers").unwrap_or_default()
    }

    /// What the answer was reset with.
    #[track_caller]
    pub fn error(&mut self) -> Reason {
        let runtime = self.runtime.clone();
        let end = wait(&runtime, "a reset", poll_fn(|context| self.poll(context)));
        end.expect_err("the answer is whole")
    }

    /// Sends a part of the body. Takes what comes of the answer, as the host may wait for that.
    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let mut rest = Bytes::copy_from_slice(bytes.as_ref());
        let runtime = self.runtime.clone();
        while !rest.is_empty() {
            self.upload.reserve_capacity(rest.len());
            let capacity = wait(
                &runtime,
                "room for a body",
                poll_fn(|context| {
                    let _ = self.poll(context);
                    self.upload.poll_capacity(context)
                }),
            );
            let capacity = capacity.expect("the request goes on").expect("the request goes on");
            let part = rest.split_to(capacity.min(rest.len()));
            self.upload.send_data(part, false).expect("send a part of a body");
        }
    }

    /// Sends as many zeros as there is room for now, up to `most`. How many?
    pub fn send_what_fits(&mut self, most: usize) -> usize {
        self.upload.reserve_capacity(most);
        let count = self.upload.capacity().min(most);
        if count > 0 {
            self.upload
                .send_data(vec![0; count].into(), false)
                .expect("send a part of a body");
        }
        // What comes later is for others.
        self.upload.reserve_capacity(0);
        count
    }

    /// Ends the request.
    #[track_caller]
    pub fn finish(&mut self) {
        self.upload.send_data(Bytes::new(), true).expect("end a body");
    }

    /// Ends the request with headers after its body.
    #[track_caller]
    pub fn finish_with(&mut self, trailers: &[(&'static str, &'static str)]) {
        let trailers = trailers
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value")));
        self.upload.send_trailers(trailers.collect()).expect("end a body");
    }

    /// Takes the request back.
    pub fn cancel(mut self) {
        self.upload.send_reset(Reason::CANCEL);
    }
}

/// Why a request failed.
fn reason(error: Error) -> Reason {
    error
        .reason()
        .unwrap_or_else(|| panic!("the connection failed: {error}"))
}
