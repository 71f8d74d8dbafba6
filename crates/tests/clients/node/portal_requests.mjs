// Drives data-subject requests in the portal: somebody asks without scripts and repeats the code, a person asks with the keyboard alone, an
// officer takes an erasure in, a colleague approves it, and the receipt proves it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { accessible, base, everyLook, finish, step, tabTo, visitor } from "./browser.mjs";

const { HABEAS_TEST_BINARY, HABEAS_TEST_DATA } = process.env;
const ADA = "ada@example.org";

function habeas(...words) {
  return execFileSync(HABEAS_TEST_BINARY, [...words, "--data", HABEAS_TEST_DATA], { encoding: "utf8" }).trim();
}

/** Somebody new, signed in by a link. */
async function person(email, role) {
  const made = JSON.parse(habeas("person", "create", email, "--name", email.split("@")[0], "--format", "json"));
  if (role) habeas("person", "role", email, role);
  const page = await visitor({ viewport: { width: 1280, height: 900 } });
  await page.goto(habeas("person", "sign-in-link", email));
  await page.waitForURL(`${base}/me`);
  return { page, key: made.trainingKeys[0] };
}

/** The one-time code in the outbox, once it is there. */
async function code(address) {
  const file = `${HABEAS_TEST_DATA}/outbox/${address.split("/").pop()}.eml`;
  for (;;) {
    try {
      const found = /The code is (\d{8})/.exec(readFileSync(file, "utf8"));
      if (found) return found[1];
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
    await new Promise((done) => setTimeout(done, 20));
  }
}

async function makeProject(key, name) {
  const made = await fetch(`${base}/customvision/v3.4-preview/training/projects?name=${name}`, {
    method: "POST",
    headers: { "training-key": key },
  });
  assert.equal(made.status, 200);
}

const { page: ada, key } = await person(ADA);
const { page: olga } = await person("olga@example.org", "privacy-officer");
const { page: sven } = await person("sven@example.org", "privacy-officer");
await makeProject(key, "garden");

// Without scripts, by anybody.
const stranger = await visitor({ javaScriptEnabled: false });
await step("the public form", stranger, async () => {
  await stranger.goto("/sign-in");
  await stranger.getByRole("link", { name: "Ask here." }).click();
  await stranger.getByLabel("I want to").selectOption("access");
  await stranger.getByLabel("E-mail address under which data is held").fill(ADA);
  await stranger.getByRole("button", { name: "Ask" }).click();
  await stranger.getByRole("heading", { level: 1, name: "Your request" }).waitFor();
});
const asked = new URL(stranger.url()).pathname;
await step("a wrong code", stranger, async () => {
  stranger.expectsError = true;
  await stranger.getByLabel("The code from the letter").fill("1234");
  await stranger.getByRole("button", { name: "Show that it is me" }).click();
  await stranger.getByRole("alert").waitFor();
});
await everyLook(["/ask", asked], undefined);
await step("the right code", stranger, async () => {
  await stranger.getByLabel("The code from the letter").fill(await code(asked));
  await stranger.getByRole("button", { name: "Show that it is me" }).click();
  await stranger.getByText("Keep the address of this page").waitFor();
});
await stranger.context().close();

// A person, with the keyboard alone.
await step("a request of one's own", ada, async () => {
  await ada.goto("/me");
  await tabTo(ada, "Requests");
  await ada.keyboard.press("Enter");
  await ada.getByLabel("I want to").focus();
  await ada.keyboard.type("Rect");
  await ada.keyboard.press("Tab");
  await ada.keyboard.type("My name is Ada King.");
  await tabTo(ada, "Ask");
  await ada.keyboard.press("Enter");
  await ada.getByRole("heading", { level: 1, name: "Rectification request" }).waitFor();
  await ada.getByText("My name is Ada King.").waitFor();
});
const own = new URL(ada.url()).pathname;
await everyLook(["/me/requests", own], await ada.context().storageState());

// An officer takes an erasure in, without scripts and with the keyboard.
await step("a request is taken in", olga, async () => {
  await olga.goto("/me");
  await tabTo(olga, "Queue");
  await olga.keyboard.press("Enter");
  await olga.getByRole("heading", { level: 1, name: "Requests to answer" }).waitFor();
  await tabTo(olga, "Take a request in");
  await olga.keyboard.press("Enter");
  await olga.getByLabel("E-mail address or object id of the person").focus();
  await olga.keyboard.type(ADA);
  await olga.getByLabel("What they ask for").selectOption("erasure");
  await olga.getByLabel("How it came").selectOption("phone");
  await olga.getByRole("button", { name: "Take the request in" }).press("Enter");
  await olga.getByRole("heading", { level: 1, name: "Erasure request" }).waitFor();
});
const erasure = new URL(olga.url()).pathname;
const officer = await olga.context().storageState();
await everyLook(["/staff/requests", "/staff/requests/new", erasure, `${erasure}/holdings`, `${erasure}/items/Project`], officer);
await step("the code is repeated on the page that the letter names", olga, async () => {
  const reader = await visitor({ javaScriptEnabled: false });
  await reader.goto(erasure.replace("/staff", ""));
  await reader.getByLabel("The code from the letter").fill(await code(erasure));
  await reader.getByRole("button", { name: "Show that it is me" }).click();
  await reader.getByText("Awaiting approval").waitFor();
  await reader.context().close();
});
await step("whoever took it in cannot approve it", olga, async () => {
  await olga.goto(erasure);
  await olga.getByText("a colleague has to approve it").waitFor();
  assert.equal(await olga.getByRole("button", { name: "Approve this plan and erase" }).count(), 0);
});
await step("a note", olga, async () => {
  await olga.getByLabel("The person can read it, and their archive holds it").fill("Called back.");
  await olga.getByRole("button", { name: "Add the note" }).click();
  await olga.getByText("Called back.").waitFor();
});

// A colleague: the world has changed since they looked.
await step("what has changed is shown before an approval", sven, async () => {
  await sven.goto("/staff/requests?show=approve");
  await sven.getByRole("link", { name: /^Erasure/ }).click();
  await sven.getByRole("heading", { level: 1, name: "Erasure request" }).waitFor();
  await makeProject(key, "orchard");
  sven.expectsError = true;
  await tabTo(sven, "Approve this plan and erase");
  await sven.keyboard.press("Enter");
  await sven.getByRole("alert").waitFor();
  await sven.getByRole("table", { name: "What has changed" }).waitFor();
});
await accessible(sven, "a changed plan");
await everyLook([erasure], await sven.context().storageState());
await step("an approval", sven, async () => {
  await tabTo(sven, "Approve this plan and erase");
  await sven.keyboard.press("Enter");
  await sven.waitForURL(`${base}${erasure}`);
  for (;;) {
    await sven.goto(erasure);
    if (await sven.getByRole("link", { name: /^receipt/ }).count()) break;
  }
  await sven.getByRole("link", { name: /^receipt/ }).click();
  await sven.getByRole("heading", { level: 1, name: "Receipt of an erasure" }).waitFor();
});
await everyLook([erasure, new URL(sven.url()).pathname], await sven.context().storageState());

await finish("requests in the portal");
