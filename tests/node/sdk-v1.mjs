// Drives one MCP server with the older line of the official TypeScript SDK, and prints what came of it as JSON.
//
//     sdk-v1.mjs URL clinic|everything [--transport http|sse]
//
// It knows nothing of a gateway. What it prints is the same on every run against the same server.
import { createHash } from "node:crypto";
import { parseArgs } from "node:util";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CallToolResultSchema,
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ResourceUpdatedNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { transport: { type: "string", default: "http" } },
});
const [url, scenario] = positionals;

function newClient() {
  const client = new Client(
    { name: "sdk-v1", version: "1" },
    { capabilities: { sampling: {}, elicitation: {} } },
  );
  const seen = { sampled: [], elicited: [] };
  client.setRequestHandler(CreateMessageRequestSchema, async (request) => {
    seen.sampled.push(request.params.messages[0].content.text);
    return {
      role: "assistant",
      model: "none",
      content: { type: "text", text: "sampled by the TypeScript SDK" },
    };
  });
  client.setRequestHandler(ElicitRequestSchema, async (request) => {
    seen.elicited.push(request.params.message);
    return { action: "accept", content: { name: "Ada Okafor", check: true } };
  });
  seen.updated = new Promise((resolve) =>
    client.setNotificationHandler(ResourceUpdatedNotificationSchema, () => resolve(true)),
  );
  return { client, seen };
}

async function progressOf(client, name, args) {
  const progress = [];
  const result = await client.callTool({ name, arguments: args }, undefined, {
    // Over SSE the SDK drops the last report when it is read in one piece with the answer: that depends on how bytes arrive.
    onprogress: (p) => p.progress < p.total && progress.push([p.progress, p.total]),
  });
  return { progress, result };
}

async function clinic({ client }) {
  const query = await client.callTool({
    name: "query",
    arguments: {
      sql: "SELECT id, name, ssn FROM patients ORDER BY id LIMIT 3",
      marker: "typescript-v1",
    },
  });
  const wrong = await client.callTool({
    name: "query",
    arguments: { sql: "SELECT nothing FROM nowhere" },
  });
  const { progress, result } = await progressOf(client, "export", { at_least_bytes: 300_000 });
  const text = result.content[0].text;
  return {
    query,
    wrong,
    progress,
    export: [text.length, createHash("sha256").update(text).digest("hex")],
  };
}

async function everything({ client, seen }) {
  const echo = await client.callTool({ name: "echo", arguments: { message: "grüße – 你好" } });
  const structured = await client.callTool({
    name: "get-structured-content",
    arguments: { location: "Chicago" },
  });
  const { progress, result: long } = await progressOf(client, "trigger-long-running-operation", {
    duration: 0.5,
    steps: 5,
  });
  const sampling = await client.callTool({
    name: "trigger-sampling-request",
    arguments: { prompt: "say something" },
  });
  const elicitation = await client.callTool({ name: "trigger-elicitation-request", arguments: {} });
  const { resources } = await client.listResources();
  const { prompts } = await client.listPrompts();
  await client.subscribeResource({ uri: resources[0].uri });
  await client.callTool({ name: "toggle-subscriber-updates", arguments: {} });
  const updated = await seen.updated;
  await client.callTool({ name: "toggle-subscriber-updates", arguments: {} });
  return {
    echo,
    structured,
    progress,
    long,
    sampled: seen.sampled,
    sampling: sampling.content[0].text.includes("sampled by the TypeScript SDK"),
    elicited: seen.elicited,
    elicitation: JSON.stringify(elicitation).includes("Ada Okafor"),
    resources: resources.length,
    prompts: prompts.map((p) => p.name).sort(),
    updated,
  };
}

// Leaves in the middle of a call, and takes it up again on a new connection with the last event id.
async function resume() {
  const { client } = newClient();
  const transport = new StreamableHTTPClientTransport(new URL(url));
  await client.connect(transport);
  const call = {
    method: "tools/call",
    params: { name: "trigger-long-running-operation", arguments: { duration: 2, steps: 8 } },
  };
  let token;
  const before = [];
  await new Promise((resolve) => {
    client
      .request(call, CallToolResultSchema, {
        onresumptiontoken: (t) => (token = t),
        onprogress: (p) => before.push(p.progress) === 2 && resolve(),
      })
      // It is we who leave: that it is told so is no news.
      .catch(() => {});
  });
  const sessionId = transport.sessionId;
  await client.close();
  const next = newClient().client;
  const again = new StreamableHTTPClientTransport(new URL(url), { sessionId });
  await next.connect(again);
  // The server replays what it has, and no more: wait until the operation has ended.
  await new Promise((resolve) => setTimeout(resolve, 2500));
  const result = await next.request(call, CallToolResultSchema, { resumptionToken: token });
  await next.close();
  return { begun: before.length >= 2, text: result.content[0].text };
}

const parts = newClient();
const transport =
  values.transport === "sse"
    ? new SSEClientTransport(new URL(url))
    : new StreamableHTTPClientTransport(new URL(url));
await parts.client.connect(transport);
const { tools } = await parts.client.listTools();
const steps = await { clinic, everything }[scenario](parts);
if (transport instanceof StreamableHTTPClientTransport) await transport.terminateSession();
await parts.client.close();
if (scenario === "everything" && values.transport === "http") steps.resumption = await resume();
console.log(
  JSON.stringify(
    {
      sdk: "typescript-v1",
      protocol: transport.protocolVersion ?? null,
      server: parts.client.getServerVersion().name,
      tools: tools.map((t) => t.name).sort(),
      steps,
    },
    null,
    1,
  ),
);
