// Drives one MCP server with the newest line of the official TypeScript SDK, and prints what came of it as JSON.
//
//     sdk-v2.mjs URL clinic|everything [--mode auto|legacy]
//
// It knows nothing of a gateway. What it prints is the same on every run against the same server.
import { createHash } from "node:crypto";
import { parseArgs } from "node:util";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: { mode: { type: "string", default: "auto" } },
});
const [url, scenario] = positionals;

const client = new Client(
  { name: "sdk-v2", version: "1" },
  {
    capabilities: { sampling: {}, elicitation: {} },
    versionNegotiation: { mode: values.mode },
  },
);
const seen = { sampled: [], elicited: [] };
client.setRequestHandler("sampling/createMessage", async (request) => {
  seen.sampled.push(request.params.messages[0].content.text);
  return {
    role: "assistant",
    model: "none",
    content: { type: "text", text: "sampled by the TypeScript SDK" },
  };
});
client.setRequestHandler("elicitation/create", async (request) => {
  seen.elicited.push(request.params.message);
  return { action: "accept", content: { name: "Ada Okafor", check: true } };
});
const updated = new Promise((resolve) =>
  client.setNotificationHandler("notifications/resources/updated", () => resolve(true)),
);

async function progressOf(name, args) {
  const progress = [];
  const result = await client.callTool(
    { name, arguments: args },
    { onprogress: (p) => progress.push([p.progress, p.total]) },
  );
  return { progress, result };
}

async function clinic() {
  const query = await client.callTool({
    name: "query",
    arguments: {
      sql: "SELECT id, name, ssn FROM patients ORDER BY id LIMIT 3",
      marker: "typescript-v2",
    },
  });
  const wrong = await client.callTool({
    name: "query",
    arguments: { sql: "SELECT nothing FROM nowhere" },
  });
  const { progress, result } = await progressOf("export", { at_least_bytes: 300_000 });
  const text = result.content[0].text;
  return {
    query,
    wrong,
    progress,
    export: [text.length, createHash("sha256").update(text).digest("hex")],
  };
}

async function everything() {
  const echo = await client.callTool({ name: "echo", arguments: { message: "grüße – 你好" } });
  const structured = await client.callTool({
    name: "get-structured-content",
    arguments: { location: "Chicago" },
  });
  const { progress, result: long } = await progressOf("trigger-long-running-operation", {
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
  await updated;
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
    updated: true,
  };
}

const transport = new StreamableHTTPClientTransport(new URL(url));
await client.connect(transport);
const { tools } = await client.listTools();
const steps = await { clinic, everything }[scenario]();
const summary = {
  sdk: "typescript-v2",
  protocol: client.getNegotiatedProtocolVersion?.() ?? transport.protocolVersion ?? null,
  server: client.getServerVersion()?.name ?? null,
  tools: tools.map((t) => t.name).sort(),
  steps,
};
await client.close();
console.log(JSON.stringify(summary, null, 1));
