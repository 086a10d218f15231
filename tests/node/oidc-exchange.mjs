// Token exchange (RFC 8693) for oidc-provider, which has it as a grant type of one's own: `provider.registerGrantType`.
import { errors } from "oidc-provider";

export const GRANT = "urn:ietf:params:oauth:grant-type:token-exchange";

const ACCESS_TOKEN = "urn:ietf:params:oauth:token-type:access_token";
const parameters = ["subject_token", "subject_token_type", "requested_token_type", "resource", "audience", "scope"];

// `find` gives what is known of an access token that still holds, and `resourceServer` what a token for an audience is like.
export function register(provider, find, resourceServer) {
  const exchange = async (ctx) => {
    const { client, params } = ctx.oidc;
    if (params.subject_token_type !== ACCESS_TOKEN) throw new errors.InvalidRequest("the subject token must be an access token");
    // RFC 8693 section 2.2.2: what is wrong with it is an `invalid_request`.
    const subject = await find(params.subject_token ?? "").catch(() => undefined);
    if (!subject) throw new errors.InvalidRequest("the subject token does not hold");
    const audience = params.resource ?? params.audience;
    if (!audience) throw new errors.InvalidTarget("a token is for a server: which one is not said");
    const token = new provider.AccessToken({
      client,
      accountId: subject.accountId,
      scope: params.scope ?? subject.scope,
      resourceServer: new provider.ResourceServer(audience, resourceServer(audience)),
    });
    // Section 4.1: who acts for the subject.
    Object.assign(token, { altered: { act: { sub: client.clientId } } });
    ctx.oidc.entity("AccessToken", token);
    ctx.body = {
      access_token: await token.save(),
      issued_token_type: ACCESS_TOKEN,
      token_type: "Bearer",
      expires_in: token.expiration,
      scope: token.scope,
    };
  };
  provider.registerGrantType(GRANT, exchange, parameters);
}
