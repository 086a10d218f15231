"""Drives one MCP server with the newest line of the official Python SDK, and prints what came of it as JSON.

    sdk_v2.py URL clinic|everything [--mode auto|legacy|2026-07-28]

It knows nothing of a gateway. What it prints is the same on every run against the same server, so that a run through the gateway
can be compared with a run past it.
"""

import argparse
import asyncio
import hashlib
import json

import mcp_types as types
from mcp import Client


class Answers:
    """The callbacks of a client, and what they were given."""

    def __init__(self):
        self.sampled = []
        self.elicited = []
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

    async def message(self, message):
        if isinstance(message, types.ResourceUpdatedNotification):
            self.update.set()


def plain(result):
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


async def progress_of(client, tool, arguments):
    seen = []

    async def on_progress(progress, total, message):
        seen.append([progress, total, message])

    result = await client.call_tool(tool, arguments, progress_callback=on_progress)
    return seen, result


async def clinic(answers, client):
    query = await client.call_tool(
        "query", {"sql": "SELECT id, name, ssn FROM patients ORDER BY id LIMIT 3", "marker": "python-v2"}
    )
    wrong = await client.call_tool("query", {"sql": "SELECT nothing FROM nowhere"})
    progress, export = await progress_of(client, "export", {"at_least_bytes": 300_000})
    text = export.content[0].text
    return {
        "query": plain(query),
        "wrong": plain(wrong),
        "progress": progress,
        "export": [len(text), hashlib.sha256(text.encode()).hexdigest()],
    }


async def everything(answers, client):
    echo = await client.call_tool("echo", {"message": "grüße – 你好"})
    structured = await client.call_tool("get-structured-content", {"location": "Chicago"})
    progress, long = await progress_of(client, "trigger-long-running-operation", {"duration": 0.5, "steps": 5})
    sampling = await client.call_tool("trigger-sampling-request", {"prompt": "say something"})
    elicitation = await client.call_tool("trigger-elicitation-request", {})
    resources = await client.list_resources()
    prompts = await client.list_prompts()
    await client.subscribe_resource(str(resources.resources[0].uri))
    await client.call_tool("toggle-subscriber-updates", {})
    await asyncio.wait_for(answers.update.wait(), 20)
    await client.call_tool("toggle-subscriber-updates", {})
    return {
        "echo": plain(echo),
        "structured": plain(structured),
        "progress": progress,
        "long": plain(long),
        "sampled": answers.sampled,
        "sampling": "sampled by the Python SDK" in sampling.content[0].text,
        "elicited": answers.elicited,
        "elicitation": "Ada Okafor" in json.dumps(plain(elicitation), ensure_ascii=False),
        "resources": len(resources.resources),
        "prompts": sorted(prompt.name for prompt in prompts.prompts),
        "updated": answers.update.is_set(),
    }


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("scenario", choices=["clinic", "everything"])
    parser.add_argument("--mode", default="auto")
    arguments = parser.parse_args()
    answers = Answers()
    async with Client(
        arguments.url,
        mode=arguments.mode,
        sampling_callback=answers.sample,
        elicitation_callback=answers.elicit,
        message_handler=answers.message,
    ) as client:
        tools = await client.list_tools()
        steps = await {"clinic": clinic, "everything": everything}[arguments.scenario](answers, client)
        summary = {
            "sdk": "python-v2",
            "protocol": client.protocol_version,
            "server": client.server_info.name if client.server_info else None,
            "tools": sorted(tool.name for tool in tools.tools),
            "steps": steps,
        }
    print(json.dumps(summary, ensure_ascii=False, indent=1, sort_keys=True))


asyncio.run(main())
