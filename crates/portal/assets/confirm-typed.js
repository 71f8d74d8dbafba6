// @ts-check
/**
 * A dialog whose red button stays disabled until `data-expected` has been typed. Opening, Esc and the return of the focus
 * are the browser's own.
 */
class ConfirmTyped extends HTMLElement {
  connectedCallback() {
    const dialog = /** @type {HTMLDialogElement} */ (this.querySelector("dialog"));
    const opener = /** @type {HTMLButtonElement} */ (this.querySelector("[commandfor]"));
    const input = /** @type {HTMLInputElement} */ (this.querySelector("input[name=confirm]"));
    const confirm = /** @type {HTMLButtonElement} */ (this.querySelector("[data-confirm]"));
    // Browsers that do not know `command` yet.
    if (!("commandForElement" in opener)) opener.addEventListener("click", () => dialog.showModal());
    const check = () => (confirm.disabled = input.value.trim() !== this.dataset.expected);
    input.addEventListener("input", check);
    dialog.addEventListener("close", () => {
      input.value = "";
      check();
    });
    check();
  }
}
customElements.define("confirm-typed", ConfirmTyped);
