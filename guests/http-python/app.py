"""Answers every request with a description of it, as JSON."""

import json
import os
from urllib.parse import parse_qs

from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.types import (
    Fields,
    IncomingRequest,
    Method,
    Method_Other,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        method = method_name(request.method())
        path, _, query = (request.path_with_query() or "/").partition("?")
        answer = {
            "method": method,
            "path": path,
            "query": parse_qs(query, keep_blank_values=True),
            "headers": len(request.headers().entries()),
            "address": os.environ.get("REMOTE_ADDR"),
        }
        # The answer to HEAD has no body: writing one would fail.
        text = "" if method == "HEAD" else json.dumps(answer) + "\n"
        reply(response_out, text.encode())


def method_name(method: Method) -> str:
    """GET for a Method_Get: each method of HTTP has a class of its own."""
    if isinstance(method, Method_Other):
        return method.value
    return type(method).__name__.removeprefix("Method_").upper()


def reply(response_out: ResponseOutparam, content: bytes) -> None:
    headers = Fields.from_list([("content-type", b"application/json")])
    response = OutgoingResponse(headers)  # its status is 200, unless set_status_code is called
    body = response.body()
    ResponseOutparam.set(response_out, Ok(response))
    with body.write() as stream:
        for start in range(0, len(content), 4096):  # the maximum of one write
            stream.blocking_write_and_flush(content[start : start + 4096])
    OutgoingBody.finish(body, None)
