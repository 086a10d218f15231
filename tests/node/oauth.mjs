// Calls an MCP server that asks for a token, with the official TypeScript SDK and its own OAuth flow.
//
//     oauth.mjs URL CLIENT_ID
//
// Prints where the browser is to go, reads from standard input the URL at which it comes back, and prints the answer to a call.
import { createInterface } from "node:readline";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const [url, client_id] = process.argv.slice(2);
const redirectUrl = "http://127.0.0.1:9/callback";
const kept = { discovery: undefined };
const authProvider = {
  redirectUrl,
  clientMetadata: { client_name: "agent", redirect_uris: [redirectUrl], token_endpoint_auth_method: "none" },
  clientInformation: () => ({ client_id }),
  tokens: () => kept.tokens,
  saveTokens: (tokens) => (kept.tokens = tokens),
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (verifier) => (kept.verifier = verifier),
  discoveryState: () => kept.discovery,
  saveDiscoveryState: (state) => (kept.discovery = state),
  redirectToAuthorization: (to) => console.log(String(to)),
};
const transport = () => new StreamableHTTPClientTransport(new URL(url), { authProvider });

const first = transport();
await new Client({ name: "oauth", version: "1" }).connect(first).then(
  () => Promise.reject(new Error("it was let in without a token")),
  (error) => (error.name.includes("Unauthorized") || error.constructor.name.includes("Unauthorized") ? undefined : Promise.reject(error)),
);
const cameBack = await new Promise((resolve) => createInterface({ input: process.stdin }).once("line", resolve));
await first.finishAuth(new URL(cameBack).searchParams);
const client = new Client({ name: "oauth", version: "1" });
await client.connect(transport());
const answer = await client.callTool({ name: "query", arguments: { sql: "SELECT 1 AS one" } });
console.log(JSON.stringify(answer.structuredContent));
await client.close();
process.exit(0);
