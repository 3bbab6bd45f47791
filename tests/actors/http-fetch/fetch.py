"""Passes a request on to the URL in its query, with wasi:http, and the answer back. What goes wrong is the answer, with
status 502."""

from urllib.parse import urlsplit

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports import outgoing_handler
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import (
    Fields,
    IncomingBody,
    IncomingRequest,
    OutgoingBody,
    OutgoingRequest,
    OutgoingResponse,
    ResponseOutparam,
    Scheme_Http,
    Scheme_Https,
)


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        url = request.path_with_query().split("?", 1)[1]
        try:
            status, text = fetch(request.method(), url)
        except Err as error:
            status, text = 502, f"{error.value}\n".encode()
        response = OutgoingResponse(Fields.from_list([]))
        response.set_status_code(status)
        answer = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        with answer.write() as output:
            for start in range(0, len(text), 4096):
                output.blocking_write_and_flush(text[start : start + 4096])
        OutgoingBody.finish(answer, None)


def fetch(method, url: str) -> tuple[int, bytes]:
    parts = urlsplit(url)
    request = OutgoingRequest(Fields.from_list([("x-test", b"python")]))
    request.set_method(method)
    request.set_scheme(Scheme_Https() if parts.scheme == "https" else Scheme_Http())
    request.set_authority(parts.netloc)
    request.set_path_with_query(parts.path + (f"?{parts.query}" if parts.query else ""))
    OutgoingBody.finish(request.body(), None)
    future = outgoing_handler.handle(request, None)
    future.subscribe().block()
    result = future.get().value
    if isinstance(result, Err):
        raise result
    response = result.value
    body = response.consume()
    text = bytearray()
    with body.stream() as input:
        while True:
            try:
                text += input.blocking_read(65536)
            except Err as error:
                if isinstance(error.value, StreamError_Closed):
                    break
                raise
    IncomingBody.finish(body)
    return response.status(), bytes(text)
