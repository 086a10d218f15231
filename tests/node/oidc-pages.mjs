// The pages of the OpenID Connect provider: plain forms, and nothing from elsewhere (oidc-provider's own fetch a font).
const escape = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const page = (title, body) =>
  `<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>${escape(title)}</title></head>\n<body><h1>${escape(title)}</h1>\n${body}\n</body></html>\n`;

const send = (response, status, html) => response.writeHead(status, { "content-type": "text/html; charset=utf-8" }).end(html);

export function interaction(response, { prompt, params, session }, wrong) {
  if (prompt.name === "login") {
    const form = `<form method="post">
<p>${escape(wrong ?? "")}</p>
<label>User name <input type="text" name="login" required autofocus></label>
<label>Password <input type="password" name="password" required></label>
<button type="submit">Sign in</button>
</form>`;
    return send(response, wrong ? 401 : 200, page("Sign in", form));
  }
  const form = `<form method="post">
<p>${escape(session.accountId)}: ${escape(params.client_id)} asks for ${escape(params.scope ?? "nothing")}.</p>
<button type="submit">Allow</button> <button type="submit" name="abort" value="yes">Deny</button>
</form>`;
  return send(response, 200, page("Allow?", form));
}

export function askForCode(ctx, form, _out, wrong) {
  const why = wrong ? `<p class="wrong">${escape(wrong.message)}</p>` : "";
  ctx.body = page("Connect a device", `${why}${form}<button type="submit" form="op.deviceInputForm">Continue</button>`);
}

export function confirmCode(ctx, form, client, _device, userCode) {
  const buttons = `<button type="submit" form="op.deviceConfirmForm">Continue</button>
<button type="submit" form="op.deviceConfirmForm" name="abort" value="yes">Deny</button>`;
  ctx.body = page("Is this your code?", `<p>${escape(client.clientId)}: <code>${escape(userCode)}</code></p>${form}${buttons}`);
}

export function deviceDone(ctx) {
  ctx.body = page("Device connected", "<p>You can close this page.</p>");
}

export function failed(ctx, out) {
  ctx.type = "html";
  ctx.body = page("It failed", `<pre>${escape(JSON.stringify(out, null, 2))}</pre>`);
}
