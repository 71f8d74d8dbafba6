// @ts-check
/**
 * Follows work by server-sent events from `data-events`:
 *   progress {"done": n, "total": m}     how far it is
 *   step     {"name": s, "state": w}     a step of a list: waiting, running, done
 *   done     {}                          the work is over, or its page has to be looked at again
 * The element is rendered by the server with its state, so it is right without this module too.
 */
class SseProgress extends HTMLElement {
  /** @type {EventSource | undefined} */
  #events;
  /** @type {number | undefined} */
  #timer;
  #text = "";

  connectedCallback() {
    const address = this.dataset.events;
    if (!address) return;
    this.#events = new EventSource(address);
    this.#events.addEventListener("progress", (event) => this.#progress(JSON.parse(event.data)));
    this.#events.addEventListener("step", (event) => this.#step(JSON.parse(event.data)));
    this.#events.addEventListener("done", () => this.#finish());
  }

  disconnectedCallback() {
    this.#events?.close();
    clearTimeout(this.#timer);
  }

  /** @param {{ done: number, total: number }} state */
  #progress({ done, total }) {
    const bar = this.querySelector("progress");
    if (bar) {
      bar.max = Math.max(total, 1);
      bar.value = done;
    }
    this.#text = `${done.toLocaleString("en")} of ${total.toLocaleString("en")} ${this.dataset.unit}`;
    // Screen readers read every change: one a second is enough.
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const text = this.querySelector(".progress-text");
      if (text) text.textContent = this.#text;
    }, bar && done < total ? 1000 : 0);
  }

  /** @param {{ name: string, state: "waiting" | "running" | "done" }} step */
  #step({ name, state }) {
    const item = /** @type {HTMLElement | null} */ (this.querySelector(`[data-step="${CSS.escape(name)}"]`));
    if (!item) return;
    item.dataset.state = state;
    item.toggleAttribute("aria-current", false);
    if (state === "running") item.setAttribute("aria-current", "step");
    const badge = item.querySelector("[data-badge]");
    if (badge) badge.textContent = { waiting: "To do", running: "Now", done: "Done" }[state];
  }

  /** The work is over: what the server shows now takes the place of what it showed then. */
  async #finish() {
    this.#events?.close();
    const region = this.closest("[data-live]");
    const name = /** @type {HTMLElement | null} */ (region)?.dataset.live;
    const answer = await fetch(location.href);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector(`[data-live="${name}"]`);
    if (!answer.ok || !region || !fresh) return location.reload();
    document.title = page.title;
    region.replaceWith(document.adoptNode(fresh));
    // A live region is read only when it was there before its text.
    const announcer = document.getElementById("announcer");
    if (announcer) announcer.textContent = /** @type {HTMLElement} */ (fresh).dataset.announce ?? "";
  }
}
customElements.define("sse-progress", SseProgress);
