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
    const check = () => (confirm.disabled = input.value.trim() !== this.dataset.expected);
    input.addEventListener("input", check);
    // Emptied when it is opened: the event of closing comes late, and could take what is typed into the next dialog.
    opener.addEventListener("click", () => {
      input.value = "";
      check();
      // Browsers that do not know `command` yet.
      if (!("commandForElement" in opener)) dialog.showModal();
    });
    check();
  }
}
customElements.define("confirm-typed", ConfirmTyped);
