// @ts-check
/** Sends the form that it stands in as soon as the page is there. */
class SubmitOnce extends HTMLElement {
  connectedCallback() {
    const form = this.closest("form");
    const button = this.querySelector("button");
    if (!form || !button) return;
    button.disabled = true;
    // A page that comes back from the browser's memory is not sent again: its link is used up.
    form.submit();
  }
}
customElements.define("submit-once", SubmitOnce);
