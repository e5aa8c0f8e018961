// Runs before Gradio does: language, theme, and the few things that Gradio has no word for.
(() => {
  const { language, locale, strings, languages } = window.internvl;

  // Gradio speaks the language that the browser says it prefers; here the menu may say otherwise.
  Object.defineProperty(navigator, "language", { get: () => locale });
  Object.defineProperty(navigator, "languages", { get: () => [locale] });
  document.title = strings.title;

  const store = {
    get: (key) => { try { return localStorage.getItem(key); } catch { return null; } },
    set: (key, value) => { try { localStorage.setItem(key, value); } catch { /* a browser that keeps nothing */ } },
  };

  // -- light and dark: the browser's wish until somebody chooses
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (store.get("internvl-theme") ?? (dark.matches ? "dark" : "light")) === "dark";
  const applyTheme = () => {
    document.documentElement.style.colorScheme = isDark() ? "dark" : "light";
    document.body?.classList.toggle("dark", isDark());
  };
  applyTheme();
  dark.addEventListener("change", applyTheme);

  const setUpHeader = (header) => {
    const menu = header.querySelector("#language-menu");
    for (const [code, name] of Object.entries(languages)) {
      const option = new Option(name, code, code === language, code === language);
      option.lang = code;
      menu.add(option);
    }
    menu.setAttribute("aria-label", strings.language);
    menu.addEventListener("change", () => {
      document.cookie = `internvl_language=${menu.value}; path=/; max-age=31536000; samesite=strict`;
      location.reload();
    });
    const theme = header.querySelector("#theme-button");
    theme.setAttribute("aria-label", strings.theme);
    theme.title = strings.theme;
    theme.addEventListener("click", () => {
      store.set("internvl-theme", isDark() ? "light" : "dark");
      applyTheme();
    });
    const skip = header.querySelector("#skip-link");
    skip.textContent = strings.skip;
    skip.addEventListener("click", (event) => {
      event.preventDefault();
      document.querySelector("#composer textarea")?.focus();
    });
  };

  // Gradio builds the page piece by piece and builds some of it anew.
  const watch = () => {
    const header = document.querySelector("#header #language-menu:empty")?.closest("#header");
    if (header) setUpHeader(header);
    const link = document.querySelector("#download a[href]");
    if (link && link.href !== downloaded) {
      downloaded = link.href;
      link.click();
    }
    // messages have Gradio's own English titles
    for (const title of document.querySelectorAll(".toast-title")) {
      const text = title.classList.contains("info") ? strings.model : strings.failed;
      if (title.firstChild && title.firstChild.data !== text) title.firstChild.data = text;
    }
    if (document.body && document.body.classList.contains("dark") !== isDark()) applyTheme();
  };
  let downloaded = null;
  addEventListener("DOMContentLoaded", () => {
    applyTheme();
    new MutationObserver(watch).observe(document.body, {
      subtree: true, childList: true, attributes: true, attributeFilter: ["href", "class"],
    });
  });

  // Escape stops an answer.
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.querySelector("#composer .stop-button")?.click();
  });
})();
