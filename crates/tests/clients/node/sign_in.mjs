// Signs in at a server with a certified OpenID Connect provider, by each algorithm that it signs with, then lets the command line in by a
// device code, as a person does.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import Provider from "oidc-provider";

const binary = process.env.HABEAS_TEST_BINARY;
const folder = process.env.HABEAS_TEST_FOLDER;
rmSync(folder, { recursive: true, force: true });
mkdirSync(folder, { recursive: true });
const data = `${folder}/data`;
const config = `${folder}/config`;

const http = createServer();
await new Promise((done) => http.listen(0, "127.0.0.1", done));
const issuer = `http://127.0.0.1:${http.address().port}`;
const algorithms = [
  ["RS256", "rsa", { modulusLength: 2048 }],
  ["ES256", "ec", { namedCurve: "P-256" }],
  ["EdDSA", "ed25519", {}],
];
const section = ([name]) =>
  `[[issuer]]\nname = "${name.toLowerCase()}"\ntitle = "By ${name}"\nissuer = "${issuer}"\nclient-id = "habeas-${name}"\nclient-secret = "a secret & more"\n`;
writeFileSync(`${folder}/oidc.toml`, algorithms.map(section).join("\n"), { mode: 0o600 });

const children = [];
function start(args, environment = {}) {
  const child = spawn(binary, args, { env: { ...process.env, ...environment }, stdio: ["ignore", "pipe", "pipe"] });
  children.push(child);
  return child;
}
async function line(stream, pattern) {
  for await (const text of createInterface({ input: stream })) {
    const found = pattern.exec(text);
    if (found) return found;
  }
  throw new Error(`nothing said ${pattern}`);
}

try {
  const server = start(["serve", "--listen", "127.0.0.1:0", "--log", "warn", "--data", data, "--oidc-file", `${folder}/oidc.toml`]);
  server.stderr.pipe(process.stderr);
  const habeas = (await line(server.stdout, /^listening on (.*)$/))[1];
  const person = JSON.parse(
    execFileSync(binary, ["person", "create", "person@example.org", "--name", "Pat Person", "-o", "json", "--data", data], { encoding: "utf8" }),
  );

  // Accounts of the provider: what is before the @ says whether the address is verified.
  const provider = new Provider(issuer, {
    clients: algorithms.map(([name]) => ({
      client_id: `habeas-${name}`,
      client_secret: "a secret & more",
      redirect_uris: [`${habeas}/sign-in/answer`],
      response_types: ["code"],
      grant_types: ["authorization_code"],
      id_token_signed_response_alg: name,
    })),
    jwks: {
      keys: algorithms.map(([alg, type, options]) => ({
        ...generateKeyPairSync(type, options).privateKey.export({ format: "jwk" }),
        alg,
        use: "sig",
        kid: alg,
      })),
    },
    enabledJWA: { idTokenSigningAlgValues: algorithms.map(([name]) => name) },
    claims: { openid: ["sub"], email: ["email", "email_verified"] },
    pkce: { required: () => true },
    features: { devInteractions: { enabled: true } },
    cookies: { keys: ["a key for cookies"] },
    findAccount: (_, id) => ({
      accountId: id,
      claims: () => ({ sub: id, email: id.replace("unverified-", ""), email_verified: !id.startsWith("unverified-") }),
    }),
  });
  http.on("request", provider.callback());

  // A browser: cookies by origin, redirects one by one.
  function browser() {
    const jar = new Map();
    return async function visit(address, form) {
      const { origin } = new URL(address);
      const cookies = jar.get(origin) ?? new Map();
      jar.set(origin, cookies);
      const headers = { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join("; ") };
      const init = { redirect: "manual", headers };
      if (form) {
        Object.assign(init, { method: "POST", body: new URLSearchParams(form) });
        headers.origin = origin;
      }
      const response = await fetch(address, init);
      for (const cookie of response.headers.getSetCookie()) {
        const [, name, value] = /^([^=]+)=([^;]*)/.exec(cookie);
        if (value) cookies.set(name, value);
        else cookies.delete(name);
      }
      const location = response.headers.get("location");
      return { status: response.status, location: location && new URL(location, address).href, body: await response.text() };
    };
  }

  /** Signs in at the provider, also if it knows the browser when it is to ask again; the answer of the server at the end. */
  async function signIn(visit, login, name = "RS256", again = "") {
    const query = `${again}next=${encodeURIComponent("/device")}`;
    let answer = await visit(`${habeas}/sign-in/with/${name.toLowerCase()}?${query}`);
    for (let step = 0; step < 12; step += 1) {
      if (answer.location?.startsWith(`${habeas}/sign-in/answer`)) return visit(answer.location);
      if (answer.location) {
        answer = await visit(answer.location);
      } else {
        const action = /action="([^"]+)"/.exec(answer.body)[1];
        const prompt = /name="prompt" value="([^"]+)"/.exec(answer.body)[1];
        answer = await visit(new URL(action, issuer).href, { prompt, login, password: "any" });
      }
    }
    throw new Error("the provider did not come to an end");
  }

  const unverified = await signIn(browser(), "unverified-person@example.org");
  assert.equal(unverified.status, 401);
  assert.match(unverified.body, /has not verified/);
  const stranger = await signIn(browser(), "stranger@example.org");
  assert.equal(stranger.status, 401);
  const visit = browser();
  const signedIn = await signIn(visit, "person@example.org");
  assert.deepEqual([signedIn.status, signedIn.location], [303, `${habeas}/device`]);
  assert.match((await visit(`${habeas}/me`)).body, /Pat Person/);
  // The provider says when the person signed in where it is asked to have them do so again, and then that counts.
  const signedInAgain = await signIn(visit, "person@example.org", "RS256", "again&");
  assert.deepEqual([signedInAgain.status, signedInAgain.location], [303, `${habeas}/device`], signedInAgain.body);
  assert.equal((await visit(`${habeas}/me/password`)).status, 200);
  for (const [name] of algorithms.slice(1)) {
    const again = await signIn(browser(), "person@example.org", name);
    assert.deepEqual([again.status, again.location], [303, `${habeas}/device`], name);
  }
  console.log("signed in with oidc-provider");

  // The command line is let in, used, and let out again.
  const environment = { XDG_CONFIG_HOME: config };
  const login = start(["login", habeas], environment);
  const ended = new Promise((done) => login.on("exit", done));
  const [, page, code] = await line(login.stderr, /^open (\S+) and type the code (\S+)$/);
  assert.equal(page, `${habeas}/device`);
  const shown = await visit(page, { user_code: code });
  assert.match(shown.body, /The habeas command line/);
  assert.equal((await visit(page, { user_code: code, decision: "allow" })).status, 200);
  assert.equal(await ended, 0);
  const tokens = `${config}/habeas/tokens.json`;
  assert.equal(statSync(tokens).mode & 0o777, 0o600);
  const show = () =>
    execFileSync(binary, ["person", "show", person.objectId, "--url", habeas], {
      encoding: "utf8",
      env: { ...process.env, ...environment },
      stdio: ["ignore", "pipe", "pipe"],
    });
  assert.match(show(), /Pat Person/);
  execFileSync(binary, ["logout", habeas], { env: { ...process.env, ...environment }, stdio: "pipe" });
  assert.throws(show, (error) => error.status === 4);
  console.log("let the command line in and out");
} finally {
  for (const child of children) child.kill();
  http.close();
  http.closeAllConnections();
}
