// A real OpenID Connect provider (oidc-provider) on loopback, and beside it, on a port of its own, what a test may do to it.
//
//     oidc.mjs [--cert FILE --key FILE] [--alg RS256] [--redirect PATH]...
//
// Says {"issuer", "control"} on standard output once it answers. Every path of `control` takes a JSON body by POST: see `commands`.
import { createPublicKey, generateKeyPair, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import http from "node:http";
import https from "node:https";
import { parseArgs, promisify } from "node:util";
import { compactVerify, decodeJwt } from "jose";
import Provider from "oidc-provider";
import * as exchange from "./oidc-exchange.mjs";
import * as pages from "./oidc-pages.mjs";
import { Store } from "./oidc-store.mjs";

const { values: options } = parseArgs({
  options: {
    cert: { type: "string" },
    key: { type: "string" },
    alg: { type: "string", default: "RS256" },
    redirect: { type: "string", multiple: true, default: ["/callback"] },
  },
});

const accounts = new Map(
  Object.entries({
    ada: { name: "Ada Okafor", email: "ada@example.test", groups: ["dba", "staff"] },
    bob: { name: "Bob Lindqvist", email: "bob@example.test", groups: ["staff"] },
    // Odd ones: each is what some real provider does.
    stringy: { name: "Stringy", groups: "staff" },
    nested: { name: "Nested", realm_access: { roles: ["dba", "staff"] } },
    overage: {
      name: "Overage",
      _claim_names: { groups: "src1" },
      _claim_sources: { src1: { endpoint: "https://graph.example.test/v1.0/users/overage/getMemberObjects" } },
    },
    loner: { name: "Loner" },
    agent: { groups: ["agents"] },
  }),
);

const ttl = { AccessToken: 600, ClientCredentials: 600, IdToken: 600, RefreshToken: 3600, DeviceCode: 600, AuthorizationCode: 60 };
const fixed = { Interaction: 600, Session: 3600, Grant: 24 * 3600 };

const generate = promisify(generateKeyPair);
async function newKeys() {
  const pairs = await Promise.all([
    generate("rsa", { modulusLength: 2048 }),
    generate("rsa", { modulusLength: 2048 }),
    generate("ec", { namedCurve: "P-256" }),
    generate("ed25519"),
  ]);
  return ["RS256", "PS256", "ES256", "EdDSA"].map((alg, n) => ({
    ...pairs[n].privateKey.export({ format: "jwk" }),
    alg,
    use: "sig",
    kid: `${alg.toLowerCase()}-${randomBytes(6).toString("hex")}`,
  }));
}

// What outlives a change of keys.
const store = new Store();
const cookieKeys = [randomBytes(32).toString("hex")];
const state = { issuer: undefined, alg: options.alg, keys: await newKeys(), answering: "yes", fetches: {} };
let provider;
let callback;

function person(id) {
  const claims = accounts.get(id);
  return claims && { sub: id, preferred_username: id, ...claims };
}

function configuration() {
  const loopback = options.redirect.flatMap((path) => [`http://127.0.0.1${path}`, `http://[::1]${path}`]);
  const confidential = { redirect_uris: [], response_types: [] };
  return {
    jwks: { keys: state.keys },
    adapter: (model) => store.of(model),
    cookies: { keys: cookieKeys },
    clients: [
      {
        client_id: "mcp-gateway-login",
        client_name: "MCP Gateway",
        application_type: "native",
        token_endpoint_auth_method: "none",
        grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
        redirect_uris: loopback,
        id_token_signed_response_alg: state.alg,
      },
      { client_id: "agent", client_secret: "agent-secret", grant_types: ["client_credentials"], ...confidential },
      { client_id: "gateway", client_secret: "gateway-secret", grant_types: ["client_credentials", exchange.GRANT], ...confidential },
      { client_id: "introspector", client_secret: "introspector-secret", grant_types: [], ...confidential },
    ],
    claims: {
      openid: ["sub", "groups", "realm_access", "roles"],
      profile: ["name", "preferred_username"],
      email: ["email"],
    },
    // Names and addresses in the ID token itself, as the providers of companies do.
    conformIdTokenClaims: false,
    scopes: ["openid", "offline_access", "profile", "email", "mcp"],
    findAccount: (_ctx, id) => person(id) && { accountId: id, claims: () => person(id) },
    extraTokenClaims: (_ctx, token) => {
      const { sub, ...claims } = person(token.accountId ?? token.clientId) ?? {};
      return claims;
    },
    expiresWithSession: () => false,
    ttl: {
      ...fixed,
      ...Object.fromEntries(Object.keys(ttl).map((kind) => [kind, () => ttl[kind]])),
    },
    formats: { customizers: { jwt: rememberAndAlter } },
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    renderError: pages.failed,
    features: {
      devInteractions: { enabled: false },
      deviceFlow: {
        enabled: true,
        userCodeInputSource: pages.askForCode,
        userCodeConfirmSource: pages.confirmCode,
        successSource: pages.deviceDone,
      },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: (_ctx, client) => client.clientId === "introspector" },
      revocation: {
        enabled: true,
        allowedPolicy: (_ctx, client, token) => client.clientId === "introspector" || client.clientId === token.clientId,
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: (_ctx, client, among) => (client.clientId === "agent" ? "urn:mcp-gateway" : among),
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, resource) => resourceServer(resource === "urn:mcp-gateway" ? "mcp-gateway" : resource, state.alg),
      },
    },
  };
}

function resourceServer(audience, alg, kid) {
  return { audience, scope: "mcp", accessTokenFormat: "jwt", jwt: { sign: { alg, kid } } };
}

// oidc-provider keeps no JWT access token, and so neither introspects nor revokes one: here they are kept under their `jti`.
async function rememberAndAlter(_ctx, token, jwt) {
  const kept = token.constructor.IN_PAYLOAD.filter((name) => token[name] !== undefined).map((name) => [name, token[name]]);
  const { jti, iat, exp } = jwt.payload;
  await store.of(token.kind).upsert(jti, { ...Object.fromEntries(kept), jti, iat, exp }, exp - iat);
  for (const [name, value] of Object.entries(token.altered ?? {})) {
    if (value === null) delete jwt.payload[name];
    else jwt.payload[name] = value;
  }
  jwt.header = token.header;
}

async function jtiOf(token) {
  const verified = state.keys.map((jwk) => compactVerify(token, createPublicKey({ key: jwk, format: "jwk" })));
  await Promise.any(verified);
  return decodeJwt(token).jti;
}

// Anew, over the same store: oidc-provider takes keys and clients only when it is made.
function renew() {
  provider = new Provider(state.issuer, configuration());
  const find = async (token) => store.of("AccessToken").find(await jtiOf(token));
  exchange.register(provider, find, (audience) => resourceServer(audience, state.alg));
  callback = provider.callback();
}

const kids = () => Object.fromEntries(state.keys.slice(0, 4).map((key) => [key.alg, key.kid]));

const commands = {
  // The keys that sign from now on are new; the old ones stay published.
  async rotate() {
    state.keys = [...(await newKeys()), ...state.keys];
    renew();
    return kids();
  },
  // Only the keys that sign stay published.
  async forget() {
    state.keys = state.keys.slice(0, 4);
    renew();
    return kids();
  },
  async kids() {
    return kids();
  },
  // {"alg"}: signs ID tokens and access tokens from now on.
  async alg({ alg }) {
    state.alg = alg;
    renew();
  },
  // {"AccessToken": seconds, …}
  async ttl(seconds) {
    Object.assign(ttl, seconds);
  },
  // {"account", "claims"}: null takes the account away.
  async account({ account, claims }) {
    if (claims === null) accounts.delete(account);
    else accounts.set(account, claims);
  },
  // An access token, signed by the key that signs now. {"account", "audience", "ttl", "alg", "kid", "scope", "client", "claims", "header"}
  async token({ account, audience = "mcp-gateway", ttl: expiresIn, alg = state.alg, kid, scope, client, claims, header }) {
    const token = new provider.AccessToken({
      client: await provider.Client.find(client ?? "mcp-gateway-login"),
      accountId: account,
      scope: scope ?? "mcp",
      resourceServer: new provider.ResourceServer(`urn:${audience}`, resourceServer(audience, alg, kid)),
      expiresIn: expiresIn ?? ttl.AccessToken,
    });
    Object.assign(token, { altered: claims, header });
    return { token: await token.save() };
  },
  async revoke({ token }) {
    const jti = await jtiOf(token);
    await Promise.all(["AccessToken", "ClientCredentials"].map((kind) => store.of(kind).destroy(jti)));
  },
  // {"answering"}: "yes", a status for every request, or "no": connections are reset.
  async answering({ answering }) {
    state.answering = answering;
    if (answering === "no") server.closeAllConnections();
  },
  // How often each endpoint was asked.
  async fetches() {
    return state.fetches;
  },
};

async function bodyOf(request) {
  const pieces = [];
  for await (const piece of request) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

async function interaction(request, response) {
  const details = await provider.interactionDetails(request, response);
  if (request.method === "GET") return pages.interaction(response, details);
  const form = new URLSearchParams(await bodyOf(request));
  if (form.has("abort")) return provider.interactionFinished(request, response, { error: "access_denied" });
  if (details.prompt.name === "login") {
    const login = form.get("login");
    if (!accounts.has(login)) return pages.interaction(response, details, `There is no account ${login}.`);
    return provider.interactionFinished(request, response, { login: { accountId: login } });
  }
  const { grantId, params, session } = details;
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  const { missingOIDCScope, missingOIDCClaims, missingResourceScopes } = details.prompt.details;
  if (missingOIDCScope) grant.addOIDCScope(missingOIDCScope.join(" "));
  if (missingOIDCClaims) grant.addOIDCClaims(missingOIDCClaims);
  for (const [resource, scopes] of Object.entries(missingResourceScopes ?? {})) grant.addResourceScope(resource, scopes.join(" "));
  const consent = { grantId: await grant.save() };
  return provider.interactionFinished(request, response, { consent }, { mergeWithLastSubmission: true });
}

async function serve(request, response) {
  const { pathname } = new URL(request.url, state.issuer);
  state.fetches[pathname] = (state.fetches[pathname] ?? 0) + 1;
  if (typeof state.answering === "number") return response.writeHead(state.answering).end();
  if (pathname.startsWith("/interaction/")) return interaction(request, response);
  if (request.method === "POST" && ["/token/introspection", "/token/revocation"].includes(pathname)) {
    const form = Object.fromEntries(new URLSearchParams(await bodyOf(request)));
    request.body = { ...form, token: await jtiOf(form.token ?? "").catch(() => form.token) };
  }
  return callback(request, response);
}

function failing(response) {
  return (error) => {
    console.error(error);
    if (!response.headersSent) response.writeHead(500, { "content-type": "text/plain" });
    response.end(String(error));
  };
}

const answer = (request, response) => serve(request, response).catch(failing(response));
const secure = options.cert && { cert: readFileSync(options.cert), key: readFileSync(options.key) };
const server = secure ? https.createServer(secure, answer) : http.createServer(answer);
server.on("connection", (socket) => state.answering === "no" && socket.resetAndDestroy());

const control = http.createServer((request, response) => {
  const command = commands[request.url.slice(1)];
  const done = async () => {
    if (!command) return response.writeHead(404).end(`no command ${request.url}`);
    const result = await command(JSON.parse((await bodyOf(request)) || "{}"));
    return response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(result ?? null));
  };
  done().catch(failing(response));
});

const listen = (which) => new Promise((resolve) => which.listen(0, "127.0.0.1", () => resolve(which.address().port)));
state.issuer = `${secure ? "https" : "http"}://127.0.0.1:${await listen(server)}`;
renew();
console.log(JSON.stringify({ issuer: state.issuer, control: `http://127.0.0.1:${await listen(control)}` }));
