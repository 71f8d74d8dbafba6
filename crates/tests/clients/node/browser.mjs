// What the programs that drive the portal in Debian's Chromium share. Every page is checked with axe (WCAG 2.2 AA) in light and dark, at 1280
// and 390 pixels, and for reflow at 320. Anything the browser reports to its console is a failure.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { AxeBuilder } from "@axe-core/playwright";
import { chromium } from "playwright-core";

const { HABEAS_TEST_LINK, HABEAS_TEST_FOLDER, HABEAS_TEST_CHROMIUM } = process.env;
export const base = new URL(HABEAS_TEST_LINK).origin;
export const shots = `${HABEAS_TEST_FOLDER}/screenshots`;
mkdirSync(shots, { recursive: true });

let checks = 0;
const complaints = [];
const browser = await chromium.launch({ executablePath: HABEAS_TEST_CHROMIUM, args: ["--no-sandbox"] });

/** A browser of its own; what its console says is kept. */
export async function visitor(options) {
  const context = await browser.newContext({ reducedMotion: "reduce", baseURL: base, acceptDownloads: true, ...options });
  const page = await context.newPage();
  page.on("console", (message) => {
    // The browser itself reports every answer of 400 and above; pages that are errors are asked for on purpose.
    if (message.type() === "error" && !page.expectsError) complaints.push(`${page.url()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error.message}`));
  return page;
}

export async function step(name, page, work) {
  try {
    await work();
    checks += 1;
  } catch (error) {
    await page.screenshot({ path: `${shots}/failed.png`, fullPage: true });
    console.error(`FAILED: ${name} (${page.url()})`);
    throw error;
  }
}

export async function accessible(page, name) {
  await step(`axe: ${name}`, page, async () => {
    const found = await new AxeBuilder({ page })
      .withTags(["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"])
      .analyze();
    const faults = found.violations.map((fault) => `${fault.id}: ${fault.nodes.map((node) => node.target.join(" ")).join(", ")}`);
    assert.deepEqual(faults, []);
    assert.ok(found.passes.length > 10, "axe looked at something");
  });
}

export async function fits(page, name) {
  await step(`reflow: ${name}`, page, async () => {
    const [content, width] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
    assert.ok(content <= width, `${content} pixels wide in a window of ${width}`);
  });
}

/** Moves with the keyboard alone until something with this name has the focus. */
export async function tabTo(page, name) {
  for (let presses = 0; presses < 80; presses += 1) {
    await page.keyboard.press("Tab");
    const focused = await page.evaluate(() => document.activeElement?.textContent?.trim().replace(/\s+/g, " ") ?? "");
    if (focused === name) {
      const outline = await page.evaluate(() => getComputedStyle(/** @type {Element} */ (document.activeElement)).outlineStyle);
      assert.notEqual(outline, "none", `the focus on "${name}" can be seen`);
      return;
    }
  }
  assert.fail(`"${name}" is not reached with the Tab key`);
}

/** What assistive technology is told, without what differs from run to run. */
export async function spoken(page) {
  const text = await page.locator("main").ariaSnapshot();
  return `${text
    .replace(/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/g, "ID")
    .replace(/\d{1,2} [A-Z][a-z]+ \d{4}(,? (at )?\d{2}:\d{2}( UTC)?)?/g, "DATE")
    .replace(/\((in )?(just now|now|[^()]*(second|minute|hour|day)s?( ago)?)\)/g, "(RELATIVE)")
    .replace(/[\d.,]+ (B|kB|MB)\b/g, "SIZE")
    .replace(/(?<!level=)\b\d+\b/g, "COUNT")}\n`;
}

/** Every page in every look, with the session of somebody who is signed in, and what else there is to look at in each. */
export async function everyLook(pages, storageState, more) {
  for (const colorScheme of ["light", "dark"]) {
    for (const width of [1280, 390]) {
      const look = `${colorScheme} ${width}`;
      const seen = await visitor({ viewport: { width, height: 844 }, colorScheme, storageState });
      for (const path of pages) {
        await seen.goto(path);
        await accessible(seen, `${path} ${look}`);
        await fits(seen, `${path} ${look}`);
        const name = path.split("/").filter((part) => part && !/^[0-9a-f-]{36}$/.test(part)).join("-");
        await seen.screenshot({ path: `${shots}/${name}-${look.replace(" ", "-")}.png`, fullPage: true });
      }
      await more?.(seen, look, width);
      await seen.context().close();
    }
  }
  const narrow = await visitor({ viewport: { width: 320, height: 640 }, storageState });
  for (const path of pages) {
    await narrow.goto(path);
    await fits(narrow, `${path} at 320`);
  }
  await narrow.context().close();
}

/** Says how many checks passed, once the browser had nothing to complain about. */
export async function finish(name) {
  await browser.close();
  assert.deepEqual(complaints, [], "the browser has nothing to complain about");
  console.log(`${name}: ${checks} passed`);
}
