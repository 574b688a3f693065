/* What pages do beyond links and forms: copy, ask first, send a file, go on. Everything reads without it. */
"use strict";
(() => {
  const csrf = () => document.querySelector('meta[name="csrf"]')?.content ?? "";

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const text = document.getElementById(button.dataset.copy).textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = Object.assign(document.createElement("textarea"), { value: text });
      document.body.append(area);
      area.select();
      document.execCommand("copy"); // the clipboard is closed to pages without HTTPS
      area.remove();
    }
    const said = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = said; }, 1500);
  });

  document.addEventListener("submit", (event) => {
    const asks = event.target.dataset.asks;
    if (asks && !window.confirm(asks)) event.preventDefault();
  });

  // tells the server who makes a request that is no form, and how far a file has gone
  const send = (path, file, told) => new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.setRequestHeader("X-CSRF-Token", csrf());
    request.upload.addEventListener("progress", (event) => told(event.loaded, event.total));
    request.addEventListener("load", () => {
      if (request.status === 201) return resolve(JSON.parse(request.responseText));
      reject(new Error(problem(request.responseText)));
    });
    request.addEventListener("error", () => reject(new Error("The server did not answer.")));
    const form = new FormData();
    form.append("file", file, file.name);
    request.send(form);
  });

  // errors are pages, too: what they say stands in their alert
  const problem = (text) => {
    try { return JSON.parse(text).problem; } catch { /* a page */ }
    const page = new DOMParser().parseFromString(text, "text/html");
    return page.querySelector('[role="alert"] h1')?.textContent ?? "The server refused.";
  };

  document.addEventListener("submit", async (event) => {
    const form = event.target.closest("[data-send]");
    if (!form) return;
    event.preventDefault();
    const file = form.querySelector('input[type="file"]').files[0];
    const bar = form.querySelector("progress"), alarm = form.querySelector('[role="alert"]');
    if (!file) { alarm.textContent = "Choose a file first."; return; }
    bar.hidden = false;
    alarm.textContent = "";
    try {
      await send(form.dataset.send, file, (sent, total) => { bar.max = total; bar.value = sent; });
      window.location.reload();
    } catch (error) {
      bar.hidden = true;
      alarm.textContent = error.message;
    }
  });

  // what goes on is looked at again when the server says so; when it tells no more pages, every two seconds.
  // Who is not looked at hears nothing: a browser has few connections.
  let told = null, polling = 0;
  const look = () => window.htmx.trigger("#live", "look");

  function hush() {
    told?.close();
    clearInterval(polling);
    told = null;
    polling = 0;
  }

  function follow() {
    const from = document.hidden ? null : document.querySelector("#live[data-changes]");
    if (!from) return hush();
    if (told || polling) return;
    told = new EventSource(from.dataset.changes);
    told.addEventListener("changed", look);
    told.addEventListener("error", () => {
      if (told?.readyState !== EventSource.CLOSED) return; // it tries again by itself
      hush();
      polling = setInterval(look, 2000);
    });
  }
  document.addEventListener("visibilitychange", follow);
  document.addEventListener("htmx:afterSettle", follow);
  follow();

  // a narrow window has no room for the menu beside the page
  const narrow = window.matchMedia("(max-width: 760px)");
  const menu = document.querySelector(".side > details");
  const fold = () => { if (menu) menu.open = !narrow.matches; };
  narrow.addEventListener("change", fold);
  fold();

  window.headrace = { csrf, send, problem };
})();
