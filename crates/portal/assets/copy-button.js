// @ts-check
/** Copies `data-value`, and says so. `data-what` names it for those who do not see what stands beside it. */
class CopyButton extends HTMLElement {
  connectedCallback() {
    // Browsers give access to the clipboard over TLS and on this machine only.
    if (!navigator.clipboard) return;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "small";
    button.textContent = "Copy";
    const what = document.createElement("span");
    what.className = "hidden";
    what.textContent = ` ${this.dataset.what}`;
    button.append(what);
    const status = document.createElement("span");
    status.role = "status";
    status.className = "copied";
    button.addEventListener("click", async () => {
      try {
        await navigator.clipboard.writeText(this.dataset.value ?? "");
        status.textContent = "Copied";
      } catch {
        status.textContent = "Not copied: the browser does not allow it";
      }
      setTimeout(() => (status.textContent = ""), 4000);
    });
    this.replaceChildren(button, status);
  }
}
customElements.define("copy-button", CopyButton);
