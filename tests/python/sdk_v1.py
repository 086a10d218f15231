"""Drives one MCP server with the older line of the official Python SDK, and prints what came of it as JSON.

    sdk_v1.py URL clinic|everything [--transport http|sse]

It knows nothing of a gateway. What it prints is the same on every run against the same server, so that a run through the gateway
can be compared with a run past it.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json

import mcp.types as types
from mcp import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import ClientMessageMetadata


class Client:
    """The callbacks of a session, and what they were given."""

    def __init__(self):
        self.sampled = []
        self.elicited = []
        self.notified = {}
        self.update = asyncio.Event()

    async def sample(self, context, params):
        self.sampled.append(params.messages[0].content.text)
        return types.CreateMessageResult(
            role="assistant",
            content=types.TextContent(type="text", text="sampled by the Python SDK"),
            model="none",
        )

    async def elicit(self, context, params):
        self.elicited.append(params.message)
        return types.ElicitResult(action="accept", content={"name": "Ada Okafor", "check": True})

    async def roots(self, context):
        return types.ListRootsResult(roots=[])

    async def message(self, message):
        if isinstance(message, types.ServerNotification):
            method = message.root.method
            self.notified[method] = self.notified.get(method, 0) + 1
            if method == "notifications/resources/updated":
                self.update.set()

    def session(self, read, write):
        return ClientSession(
            read,
            write,
            sampling_callback=self.sample,
            elicitation_callback=self.elicit,
            list_roots_callback=self.roots,
            message_handler=self.message,
        )


def plain(result):
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


async def progress_of(session, tool, arguments):
    seen = []

    async def on_progress(progress, total, message):
        seen.append([progress, total, message])

    result = await session.call_tool(tool, arguments, progress_callback=on_progress)
    return seen, result


async def clinic(client, session):
    query = await session.call_tool(
        "query", {"sql": "SELECT id, name, ssn FROM patients ORDER BY id LIMIT 3", "marker": "python-v1"}
    )
    wrong = await session.call_tool("query", {"sql": "SELECT nothing FROM nowhere"})
    progress, export = await progress_of(session, "export", {"at_least_bytes": 300_000})
    text = export.content[0].text
    return {
        "query": plain(query),
        "wrong": plain(wrong),
        "progress": progress,
        "export": [len(text), hashlib.sha256(text.encode()).hexdigest()],
    }


async def everything(client, session):
    echo = await session.call_tool("echo", {"message": "grüße – 你好"})
    structured = await session.call_tool("get-structured-content", {"location": "Chicago"})
    progress, long = await progress_of(session, "trigger-long-running-operation", {"duration": 0.5, "steps": 5})
    sampling = await session.call_tool("trigger-sampling-request", {"prompt": "say something"})
    elicitation = await session.call_tool("trigger-elicitation-request", {})
    resources = await session.list_resources()
    prompts = await session.list_prompts()
    # Comes on the stream that the client opened with GET, not in an answer.
    await session.subscribe_resource(resources.resources[0].uri)
    await session.call_tool("toggle-subscriber-updates", {})
    await asyncio.wait_for(client.update.wait(), 20)
    await session.call_tool("toggle-subscriber-updates", {})
    return {
        "echo": plain(echo),
        "structured": plain(structured),
        "progress": progress,
        "long": plain(long),
        "sampled": client.sampled,
        "sampling": "sampled by the Python SDK" in sampling.content[0].text,
        "elicited": client.elicited,
        "elicitation": "Ada Okafor" in json.dumps(plain(elicitation), ensure_ascii=False),
        "resources": len(resources.resources),
        "prompts": sorted(prompt.name for prompt in prompts.prompts),
        "updated": client.notified.get("notifications/resources/updated", 0) > 0,
    }


async def resume(url):
    """Leaves in the middle of a call and fetches the rest by GET with Last-Event-ID."""
    tokens, before, after = [], [], []
    two = asyncio.Event()

    def call():
        return types.ClientRequest(
            types.CallToolRequest(
                params=types.CallToolRequestParams(
                    name="trigger-long-running-operation", arguments={"duration": 2, "steps": 8}
                )
            )
        )

    async def on_token(token):
        tokens.append(token)

    async def on_progress(progress, total, message):
        before.append(progress)
        if len(before) == 2:
            two.set()

    async with contextlib.AsyncExitStack() as stack:
        read, write, session_id = await stack.enter_async_context(
            streamable_http_client(url, terminate_on_close=False)
        )
        session = await stack.enter_async_context(Client().session(read, write))
        protocol = (await session.initialize()).protocolVersion
        first = asyncio.create_task(
            session.send_request(
                call(),
                types.CallToolResult,
                metadata=ClientMessageMetadata(on_resumption_token_update=on_token),
                progress_callback=on_progress,
            )
        )
        await asyncio.wait_for(two.wait(), 10)
        identity = session_id()
        first.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await first

    import httpx

    headers = {
        "Accept": "text/event-stream",
        "Mcp-Session-Id": identity,
        "MCP-Protocol-Version": protocol,
    }
    # The SDK has no way to take a session up again, so the GET is made as the specification says. The server replays what it
    # has and no more: come back until the answer is there.
    last = tokens[-1]
    async with httpx.AsyncClient(timeout=httpx.Timeout(10, read=0.5)) as http:
        for _ in range(40):
            with contextlib.suppress(httpx.ReadTimeout):
                async with http.stream("GET", url, headers=headers | {"Last-Event-ID": last}) as answer:
                    answer.raise_for_status()
                    async for line in answer.aiter_lines():
                        if line.startswith("id:"):
                            last = line[3:].strip()
                        if not line.startswith("data:") or not line[5:].strip():
                            continue
                        message = json.loads(line[5:])
                        if message.get("method") == "notifications/progress":
                            after.append(message["params"]["progress"])
                        if "result" in message:
                            whole = before + after == list(range(1, 9))
                            return {"resumed": whole, "text": message["result"]["content"][0]["text"]}
    return {"resumed": False, "before": before, "after": after}


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("scenario", choices=["clinic", "everything"])
    parser.add_argument("--transport", choices=["http", "sse"], default="http")
    arguments = parser.parse_args()
    client = Client()
    connect = streamable_http_client if arguments.transport == "http" else sse_client
    async with connect(arguments.url) as streams:
        async with client.session(*streams[:2]) as session:
            start = await session.initialize()
            tools = await session.list_tools()
            steps = await {"clinic": clinic, "everything": everything}[arguments.scenario](client, session)
    if arguments.scenario == "everything" and arguments.transport == "http":
        steps["resumption"] = await resume(arguments.url)
    summary = {
        "sdk": "python-v1",
        "protocol": start.protocolVersion,
        "server": start.serverInfo.name,
        "tools": sorted(tool.name for tool in tools.tools),
        "steps": steps,
    }
    print(json.dumps(summary, ensure_ascii=False, indent=1, sort_keys=True))


asyncio.run(main())
