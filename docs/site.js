// The search of the theme is a dialog without a name, which screen readers ask for.
document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
