# A client of HTTP/2 that sees every frame. What follows is the script of a test.

import os
import socket
import sys
from dataclasses import dataclass

import h2.events as events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

PATIENCE = 20
GOAWAY = 7


@dataclass
class Goodbye:
    error: int


class Client:
    def __init__(self, settings=None):
        address = os.environ["ADDRESS"]
        if address.isdigit():
            self.socket = socket.create_connection(("127.0.0.1", int(address)), PATIENCE)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(PATIENCE)
            self.socket.connect(address)
        self.h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        if settings:
            self.h2.local_settings.update(settings)
        self.h2.initiate_connection()
        self.events = []
        self.came = b""
        # Does it acknowledge what it got, so that more may come?
        self.takes = True
        self.flush()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def ask(self, path, method="GET", end=True, headers=()):
        stream = self.h2.get_next_available_stream_id()
        head = [(":method", method), (":path", path), (":scheme", "http"), (":authority", "test")]
        self.h2.send_headers(stream, head + list(headers), end_stream=end)
        self.flush()
        return stream

    def send(self, stream, data=b"", end=False):
        while True:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            last = len(data) <= room
            if room or last:
                self.h2.send_data(stream, data[:room], end_stream=end and last)
                self.flush()
            data = data[room:]
            if last:
                return
            self.read()

    def reset(self, stream):
        self.h2.reset_stream(stream, ErrorCodes.CANCEL)
        self.flush()

    def read(self):
        """Takes what comes next. False: the connection has ended."""
        data = self.socket.recv(65536)
        if not data:
            assert not self.came, f"this is no frame: {self.came}"
            return False
        self.came += data
        while len(self.came) >= 9 and len(self.came) >= (size := 9 + int.from_bytes(self.came[:3], "big")):
            self.take(self.came[:size])
            self.came = self.came[size:]
        try:
            self.flush()
        except BrokenPipeError:
            pass  # It was the host's last word.
        return True

    def take(self, frame):
        if frame[3] == GOAWAY:
            # Not for h2, which would hear of no request any more, not even of those under way.
            self.events.append(Goodbye(int.from_bytes(frame[13:17], "big")))
            return
        for event in self.h2.receive_data(frame):
            self.events.append(event)
            if isinstance(event, events.DataReceived) and self.takes:
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def of(self, kind, stream=None):
        """What came so far."""
        here = lambda event: stream is None or getattr(event, "stream_id", None) == stream
        return [event for event in self.events if isinstance(event, kind) and here(event)]

    def until(self, kind, stream=None):
        """The first such event."""
        while not self.of(kind, stream):
            assert self.read(), f"the connection ended before {kind}: {self.events}"
        return self.of(kind, stream)[0]

    def status(self, stream):
        return int(dict(self.until(events.ResponseReceived, stream).headers)[":status"])

    def header(self, stream, name):
        return dict(self.until(events.ResponseReceived, stream).headers).get(name)

    def body(self, stream):
        return b"".join(event.data for event in self.of(events.DataReceived, stream))

    def answer(self, stream):
        """The status and the body, which must be whole."""
        self.until(events.StreamEnded, stream)
        return self.status(stream), self.body(stream)

    def error(self, stream):
        """What it was reset with."""
        return self.until(events.StreamReset, stream).error_code

    def get(self, path):
        return self.answer(self.ask(path))

    def expect_goodbye(self):
        """No more requests; and when all are answered, the end."""
        assert self.until(Goodbye).error == ErrorCodes.NO_ERROR
        while self.read():
            pass


def tell(line):
    """Tells the test, and waits until it says go on."""
    print(line, flush=True)
    sys.stdin.readline()


HELLO = (200, b"hello\n")
