"""Sends the body of a request back as it comes; to /throw, nothing."""

from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.imports.streams import StreamError_Closed
from wit_world.imports.types import (
    Fields,
    IncomingBody,
    IncomingRequest,
    OutgoingBody,
    OutgoingResponse,
    ResponseOutparam,
)

# The most that one write takes.
CHUNK = 4096


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        if request.path_with_query() == "/throw":
            raise ValueError("as it was asked to")
        response = OutgoingResponse(Fields.from_list([]))
        answer = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        body = request.consume()
        with answer.write() as output:
            with body.stream() as input:
                copy(input, output)
        IncomingBody.finish(body)
        OutgoingBody.finish(answer, None)


def copy(input, output) -> None:
    while True:
        try:
            piece = input.blocking_read(16 * CHUNK)
        except Err as error:
            if isinstance(error.value, StreamError_Closed):
                return
            raise
        for start in range(0, len(piece), CHUNK):
            output.blocking_write_and_flush(piece[start : start + CHUNK])
