"use strict";
(() => {
  const line = document.getElementById("live");
  let version = line.dataset.version, drawing = line.dataset.drawing;

  // The new page takes the old one's place: what is open, chosen and unticked stays so.
  async function swap() {
    const text = await (await fetch("./", { cache: "no-store" })).text();
    const fresh = new DOMParser().parseFromString(text, "text/html");
    const old = document.querySelector("main"), main = document.importNode(fresh.querySelector("main"), true);
    const named = details => details.querySelector("summary").textContent;
    const open = new Set([...old.querySelectorAll("details[open]")].map(named));
    const chosen = [...old.querySelectorAll("select")].map(select => [select.id, select.value]);
    const unticked = [...old.querySelectorAll("input:not(:checked)")].map(box => [box.name, box.value]);
    document.title = fresh.title;
    document.body.style.cssText = fresh.body.style.cssText;
    const style = document.querySelector("style"), styled = fresh.querySelector("style");
    if (styled && !style) document.head.append(document.importNode(styled, true));
    old.replaceWith(main);
    for (const script of main.querySelectorAll("script:not([type])")) {
      const again = document.createElement("script");
      again.textContent = script.textContent;
      script.replaceWith(again);  // one that was parsed so has not run
    }
    for (const details of main.querySelectorAll("details")) details.open = open.has(named(details));
    for (const [id, value] of chosen) {
      const select = document.getElementById(id);
      if (select && [...select.options].some(option => option.value === value)) {
        select.value = value;
        select.dispatchEvent(new Event("change"));
      }
    }
    for (const [name, value] of unticked) {
      for (const box of main.querySelectorAll("input:checked")) if (box.name === name && box.value === value) box.click();
    }
  }

  async function follow() {
    try {
      const state = await (await fetch(`state?since=${version}`, { cache: "no-store" })).json();
      line.textContent = state.said;
      if (String(state.drawing) !== drawing) await swap();
      version = state.version;
      drawing = String(state.drawing);
    } catch {
      line.textContent = "The server does not answer; what is shown is as it was.";
      await new Promise(resolve => setTimeout(resolve, 3000));
    }
    setTimeout(follow, 0);
  }
  follow();
})();
