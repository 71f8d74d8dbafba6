// What the programs here share: counting checks, watching which operations of a client are called, and a far end for addresses and webhooks.
import { readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:http";

export const {
  HABEAS_TEST_ENDPOINT: ENDPOINT,
  HABEAS_TEST_KEY: KEY,
  HABEAS_TEST_PREDICTION_KEY: PREDICTION_KEY,
  HABEAS_TEST_OTHER_KEY: OTHER_KEY,
  HABEAS_TEST_IMAGES: IMAGES,
} = process.env;
export const CLASSES = `${IMAGES}/ImageClassification/Images`;
export const OBJECTS = `${IMAGES}/ObjectDetection/Images`;
// What the quickstarts send as `predictionId`.
export const RESOURCE = "/subscriptions/x/resourceGroups/y/providers/Microsoft.CognitiveServices/accounts/z";

let passed = 0;
let failed = 0;

export function check(name, condition) {
  if (condition) {
    passed += 1;
  } else {
    failed += 1;
    console.log(`FAILED: ${name}`);
  }
}

// Checks that the server refuses a call in words that the client understands.
export async function refused(name, status, code, call) {
  try {
    await call();
    check(`${name}: not refused`, false);
  } catch (error) {
    const told = error.statusCode === status && error.code === code && error.message.length > 0;
    check(`${name}: ${error.statusCode} ${error.code}: ${error.message}`, told);
  }
}

// The public operations of clients, and which of them were answered.
const operations = { public: new Set(), answered: new Set() };

export function watch(api, client) {
  for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(client))) {
    if (name === "constructor") {
      continue;
    }
    operations.public.add(`${api} ${name}`);
    const method = client[name].bind(client);
    client[name] = async (...given) => {
      const answer = await method(...given);
      operations.answered.add(`${api} ${name}`);
      return answer;
    };
  }
  return client;
}

// Checks that every public operation was answered at least once.
export function covered() {
  const missing = [...operations.public].filter((name) => !operations.answered.has(name));
  console.log(`${operations.public.size - missing.length} of ${operations.public.size} operations`);
  check(`never answered: ${missing}`, operations.public.size > 0 && missing.length === 0);
}

// Serves files, and takes what is posted.
export async function farEnd(files) {
  const posted = [];
  const server = createServer(async (request, response) => {
    if (request.method === "POST") {
      const pieces = [];
      for await (const piece of request) {
        pieces.push(piece);
      }
      posted.push(JSON.parse(Buffer.concat(pieces)));
      response.writeHead(204).end();
    } else {
      const content = files[request.url];
      response.writeHead(content ? 200 : 404).end(content);
    }
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  server.unref();
  const next = (type) => until(() => posted.find((message) => message.type === type));
  return { address: `http://127.0.0.1:${server.address().port}`, next };
}

// Reads again and again until there is something.
export async function until(read) {
  for (;;) {
    const found = await read();
    if (found) {
      return found;
    }
    await new Promise((passed) => setTimeout(passed, 100));
  }
}

export function trained(trainer, project, iteration) {
  return until(async () => {
    const found = await trainer.getIteration(project, iteration.id);
    return found.status === "Training" ? undefined : found;
  });
}

export function photos(folder) {
  return readdirSync(folder).sort().map((name) => ({ name, contents: readFileSync(`${folder}/${name}`) }));
}

// Left, top, width and height of the object in a detection photo.
export function box(name) {
  const drawn = JSON.parse(readFileSync(`${IMAGES}/ObjectDetection/regions.json`));
  const [left, top, width, height] = drawn[name.split(".")[0]].left_top_width_height;
  return { left, top, width, height };
}

export function finish(what) {
  console.log(`${what}: ${passed} passed, ${failed} failed`);
  process.exit(failed ? 1 : 0);
}
