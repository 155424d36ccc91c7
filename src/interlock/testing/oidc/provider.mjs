// npm's oidc-provider with one client and whoever signs in: node provider.mjs MODULE SETTINGS, both explained in
// testing/oidc_provider.py.
import { pathToFileURL } from "node:url";

const [, , module, text] = process.argv;
const { default: Provider } = await import(pathToFileURL(module));
const settings = JSON.parse(text);

const provider = new Provider(settings.issuer, {
  clients: [
    {
      client_id: settings.client,
      client_secret: settings.secret,
      redirect_uris: [settings.redirect],
      response_types: ["code"],
      grant_types: ["authorization_code"],
    },
  ],
  pkce: { required: () => true, methods: ["S256"] },
  claims: { openid: ["sub"], profile: ["preferred_username"], groups: ["groups"] },
  scopes: ["openid", "profile", "groups"],
  cookies: { keys: ["only for tests"] },
  findAccount: (_context, id) => ({
    accountId: id,
    claims: () => ({ sub: `subject-of-${id}`, preferred_username: id, groups: settings.groups[id] ?? [] }),
  }),
});
provider.listen(settings.port, "127.0.0.1", () => console.log("ready"));
