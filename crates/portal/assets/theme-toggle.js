// @ts-check
/** Chooses between the system's theme, light and dark. */
class ThemeToggle extends HTMLElement {
  static #themes = /** @type {const} */ ([["", "System"], ["light", "Light"], ["dark", "Dark"]]);

  connectedCallback() {
    const label = document.createElement("label");
    label.textContent = "Theme";
    const select = document.createElement("select");
    for (const [value, title] of ThemeToggle.#themes) select.add(new Option(title, value));
    select.value = document.documentElement.dataset.theme ?? "";
    select.addEventListener("change", () => {
      const root = document.documentElement;
      if (select.value) {
        root.dataset.theme = select.value;
        localStorage.setItem("theme", select.value);
      } else {
        delete root.dataset.theme;
        localStorage.removeItem("theme");
      }
    });
    label.append(select);
    this.replaceChildren(label);
  }
}
customElements.define("theme-toggle", ThemeToggle);
