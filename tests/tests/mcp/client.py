"""Talks to a tool server as programs do that talk to language models, with the official client: URL MODE TOKEN.

MODE is how the revision is agreed on: `auto` asks the server, `legacy` is the handshake of earlier ones, a date is that
revision. After the first call, the client waits for a line; it keeps its connection, if the server lets it. The last
line is what it has found, in JSON.
"""

import asyncio
import json
import sys

from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client
from mcp.shared.exceptions import MCPError


async def main(url, mode, token):
    headers = {"Authorization": f"Bearer {token}"}
    async with create_mcp_http_client(headers=headers) as http:
        async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
            tools = (await client.list_tools()).tools
            counted = await count(client, "Strawberry", "r")
            print("called", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
            again = await count(client, "Mississippi", "s")
            wrong = await client.call_tool("roll_dice", {"dice": 1000, "sides": 6})
            try:
                unknown = await client.call_tool("rm", {})
            except MCPError as error:
                unknown = error.error.code
            found = {
                "revision": client.protocol_version,
                "server": client.server_info and client.server_info.name,
                "tools": [tool.name for tool in tools],
                "counted": [counted, again],
                "wrong": [wrong.is_error, wrong.content[0].text],
                "unknown": unknown,
            }
            print(json.dumps(found), flush=True)


async def count(client, text, letter):
    # The client checks the result by the schema that the server has given.
    result = await client.call_tool("count_letters", {"text": text, "letter": letter})
    assert not result.is_error, result
    return result.structured_content["count"]


asyncio.run(main(*sys.argv[1:]))
