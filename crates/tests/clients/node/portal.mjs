// Drives the portal as the sample person of `habeas serve --demo` would: signs in, looks, exports, erases, keeps the receipt.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { accessible, base, everyLook, finish, shots, spoken, step, tabTo, visitor } from "./browser.mjs";

const { HABEAS_TEST_LINK, HABEAS_TEST_BINARY, HABEAS_TEST_FOLDER, HABEAS_TEST_SNAPSHOT } = process.env;
const EMAIL = "sample.person@example.org";
const PASSWORD = "four words and a number 7";

// The link signs in once.
const page = await visitor({ viewport: { width: 1280, height: 900 }, colorScheme: "light" });
await step("the link signs in", page, async () => {
  await page.goto(HABEAS_TEST_LINK);
  await page.waitForURL(`${base}/me`);
  await page.getByRole("heading", { level: 1, name: "Everything held about you" }).waitFor();
});
await step("the link works once", page, async () => {
  const other = await visitor({ javaScriptEnabled: false });
  other.expectsError = true;
  await other.goto(HABEAS_TEST_LINK);
  await other.getByRole("button", { name: "Sign in" }).click();
  assert.doesNotMatch(other.url(), /\/me$/);
  await other.context().close();
});
await step("62 images", page, async () => {
  const images = page.getByRole("row").filter({ has: page.getByRole("rowheader", { name: "Images", exact: true }) });
  assert.equal(await images.locator("[data-label=Count]").innerText(), "62");
});
await step("what assistive technology is told", page, async () => {
  // What was called is written down in batches; until then there is no link to it.
  await page.waitForFunction(async () => (await (await fetch("/me")).text()).includes("/me/items/Telemetry"));
  await page.reload();
  const found = await spoken(page);
  if (process.env.UPDATE_SNAPSHOTS) writeFileSync(HABEAS_TEST_SNAPSHOT, found);
  assert.equal(found, readFileSync(HABEAS_TEST_SNAPSHOT, "utf8"));
});
await step("every image is seen beside its facts", page, async () => {
  await page.goto("/me/items/Image");
  const images = page.getByRole("img", { name: /^Thumbnail of \S/ });
  assert.equal(await images.count(), 62);
  for (const image of await images.all()) {
    await image.scrollIntoViewIfNeeded();
    await image.evaluate((element) => element.decode());
  }
  const first = page.getByRole("listitem").filter({ has: images }).first();
  const shot = await first.ariaSnapshot();
  assert.match(shot, /^- listitem:\n {2}- heading "(.+)" \[level=2\]\n {2}- img "Thumbnail of \1"\n {2}- term: Made/);
});
await step("a password", page, async () => {
  await page.goto("/me/password");
  await page.getByLabel("New password").fill(PASSWORD);
  await page.getByRole("button", { name: "Set password" }).click();
  await page.getByRole("status").filter({ hasText: /password/i }).first().waitFor();
});

// Every page, in every look.
await step("a plan", page, async () => {
  await page.goto("/me");
  await page.getByRole("button", { name: "Erase my data…" }).click();
  await page.getByRole("heading", { level: 1, name: "What erasing would do" }).waitFor();
});
const plan = new URL(page.url()).pathname;
const state = await page.context().storageState();
const pages = ["/me", "/me/items/Image", "/me/exports", "/me/receipts", "/me/keys", "/me/access-log", "/me/password", plan, `${plan}/confirm`];
await everyLook(pages, state, async (seen, look, width) => {
  await seen.goto(plan);
  await seen.getByRole("button", { name: "Erase for good…" }).click();
  await seen.getByRole("dialog").waitFor();
  await accessible(seen, `the dialog ${look}`);
  await seen.screenshot({ path: `${shots}/dialog-${look.replace(" ", "-")}.png` });
  if (width === 390) {
    await seen.goto("/me");
    await seen.getByText("Menu", { exact: true }).click();
    await accessible(seen, `the menu ${look}`);
    await seen.screenshot({ path: `${shots}/menu-${look.replace(" ", "-")}.png` });
  }
  seen.expectsError = true;
  await seen.goto("/me/items/nothing-of-the-sort");
  await accessible(seen, `an error ${look}`);
  await seen.context().clearCookies();
  await seen.goto("/me");
  await seen.waitForURL(/sign-in/);
  await accessible(seen, `signing in ${look}`);
  await seen.screenshot({ path: `${shots}/sign-in-${look.replace(" ", "-")}.png`, fullPage: true });
});
await step("a chosen theme stays", page, async () => {
  await page.goto("/me");
  const toggle = page.getByLabel("Theme").filter({ visible: true });
  await toggle.selectOption("dark");
  await page.reload();
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), "dark");
  await page.getByLabel("Theme").filter({ visible: true }).selectOption("");
});

// Without scripts: signed in by password, everything there, an export asked for and taken.
await step("without scripts", page, async () => {
  const plain = await visitor({ javaScriptEnabled: false });
  await plain.goto("/sign-in");
  await plain.getByLabel("E-mail").fill(EMAIL);
  await plain.getByLabel("Password").fill(PASSWORD);
  await plain.getByRole("button", { name: "Sign in" }).click();
  await plain.getByRole("heading", { level: 1, name: "Everything held about you" }).waitFor();
  await plain.goto(plan);
  await plain.getByRole("link", { name: "Erase for good, on a page of its own" }).click();
  plain.expectsError = true;
  await plain.getByLabel(/^Type/).fill("somebody@example.org");
  await plain.getByRole("button", { name: "Erase for good" }).click();
  await plain.locator("[aria-invalid=true]").waitFor();
  await plain.context().close();
});

// With the keyboard alone: export, and watch it live.
await step("the skip link", page, async () => {
  await page.goto("/me");
  await tabTo(page, "Skip to content");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement?.id), "main");
});
await step("an export, live", page, async () => {
  await page.goto("/me");
  await tabTo(page, "Export everything");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "Your archive is ready" }).waitFor();
  const download = page.waitForEvent("download");
  await page.getByRole("link", { name: /^Download/ }).click();
  await (await download).saveAs(`${HABEAS_TEST_FOLDER}/archive.zip`);
  assert.equal(readFileSync(`${HABEAS_TEST_FOLDER}/archive.zip`).subarray(0, 4).toString("latin1"), "PK\u0003\u0004");
});
await accessible(page, "an archive that is ready");
await step("keys", page, async () => {
  await page.goto("/me/keys");
  const before = await page.locator("copy-button").nth(1).getAttribute("data-value");
  await page.getByText("Replace…").first().click();
  await page.getByRole("button", { name: /^Replace/ }).first().click();
  await page.getByRole("status").first().waitFor();
  const after = await page.locator("copy-button").nth(1).getAttribute("data-value");
  assert.match(String(after), /^[0-9a-f]{32}$/);
  assert.notEqual(after, before);
});

// With the keyboard alone: erase, with a sign-in of a moment ago. What was made since the first plan makes that one stale.
await step("signing in again", page, async () => {
  await page.goto("/sign-in?again&next=/me");
  await page.getByLabel("E-mail").fill(EMAIL);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(`${base}/me`);
});
await step("a new plan", page, async () => {
  await page.goto("/me");
  await tabTo(page, "Erase my data…");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "What erasing would do" }).waitFor();
});
await step("the dialog", page, async () => {
  await tabTo(page, "Erase for good…");
  await page.keyboard.press("Enter");
  const confirm = page.getByRole("dialog").getByRole("button", { name: "Erase for good" });
  const field = page.getByLabel(/^Type/);
  assert.ok(await confirm.isDisabled());
  await field.focus();
  await page.keyboard.type("sample.person@example.com");
  assert.ok(await confirm.isDisabled(), "another address does not confirm");
  await page.keyboard.press("Escape");
  const focused = await page.evaluate(() => document.activeElement?.textContent);
  assert.equal(focused, "Erase for good…", "the focus is back where the dialog was opened");
  await page.keyboard.press("Enter");
  assert.equal(await field.inputValue(), "", "what was typed is gone");
  await field.focus();
  await page.keyboard.type(EMAIL);
  assert.ok(await confirm.isEnabled());
});
await step("the erasure, live", page, async () => {
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { level: 1, name: "Everything held about you is erased" }).waitFor();
});
await accessible(page, "an erasure that is done");
await page.screenshot({ path: `${shots}/erased.png`, fullPage: true });
await step("the receipt verifies offline", page, async () => {
  const download = page.waitForEvent("download");
  await page.getByRole("link", { name: "Download the receipt" }).click();
  const file = `${HABEAS_TEST_FOLDER}/receipt.json`;
  await (await download).saveAs(file);
  const command = (await page.locator("code").filter({ hasText: "habeas receipt verify" }).innerText()).split(" ");
  const key = command[command.indexOf("--key") + 1];
  execFileSync(HABEAS_TEST_BINARY, ["receipt", "verify", file, "--key", key]);
});
await step("signed out", page, async () => {
  await page.goto("/me");
  await page.waitForURL(/sign-in/);
  page.expectsError = true;
  await page.getByLabel("E-mail").fill(EMAIL);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").waitFor();
});

await finish("portal");
