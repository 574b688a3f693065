/* Import: look into the first bytes of a file, try it, correct it, load it. */
"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const { csrf, send, problem } = window.headrace;
  const drop = at("drop"), input = at("file"), form = at("how"), looks = at("looks"), trial = at("trial"), alarm = at("problem");
  const SAMPLE = 1 << 16;
  let file = null, job = null;

  const post = (path, body) => fetch(path, { method: "POST", body, headers: { "X-CSRF-Token": csrf() } });
  const told = async (reply) => { const text = await reply.text(); if (!reply.ok) throw new Error(problem(text)); return text; };
  const base64 = (blob) => new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(reader.result.slice(reader.result.indexOf(",") + 1)));
    reader.addEventListener("error", () => reject(new Error("The file cannot be read.")));
    reader.readAsDataURL(blob);
  });

  // made of HTML that the server has escaped
  const put = (where, html) => { where.innerHTML = html; };

  async function look(said = {}) {
    alarm.textContent = "";
    const body = new URLSearchParams({ sample: await base64(file.slice(0, SAMPLE)) });
    for (const [name, value] of Object.entries(said)) if (value) body.append(name, value);
    try {
      put(looks, await told(await post(form.dataset.look, body)));
      form.hidden = false;
      trial.replaceChildren();
    } catch (error) { alarm.textContent = error.message; }
  }

  function choose(chosen) {
    if (!chosen) return;
    file = chosen;
    at("file-name").textContent = `${file.name}, ${file.size.toLocaleString("en")} bytes`;
    const name = file.name.replace(/\.(gz|zst)$/i, "").replace(/\.[^.]*$/, "");
    at("table").value = name.replace(/[^\p{L}\p{N}_]+/gu, "_").slice(0, 100);
    look();
  }

  input.addEventListener("change", () => choose(input.files[0]));
  for (const name of ["dragover", "dragleave", "drop"]) drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop") choose(event.dataTransfer.files[0]);
  });

  looks.addEventListener("change", (event) => {
    if (event.target.matches("[data-again]")) look({ charset: looks.querySelector('[name="charset"]').value, separator: looks.querySelector('[name="separator"]').value });
  });

  const busy = (on) => { for (const button of document.querySelectorAll("#how button, #trial button")) button.disabled = on; };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const bar = at("bytes");
    alarm.textContent = "";
    busy(true);
    try {
      await forget();
      const made = await told(await post(form.action, new URLSearchParams(new FormData(form))));
      job = JSON.parse(made).path;
      bar.hidden = false;
      await send(`${job}/chunks`, file, (sent, total) => { bar.max = total; bar.value = sent; });
      await outlook();
    } catch (error) { alarm.textContent = error.message; } finally { bar.hidden = true; busy(false); }
  });

  // a job that was only tried is not left behind
  async function forget() {
    if (job) await post(`${job}/delete`, new URLSearchParams());
    job = null;
  }

  async function outlook() {
    put(trial, '<p class="note" role="status">Looking at what it would do …</p>');
    try {
      put(trial, await told(await fetch(`${job}/outlook`)));
      trial.querySelector("h2")?.focus();
    } catch (error) { trial.replaceChildren(); throw error; }
  }

  trial.addEventListener("submit", async (event) => {
    if (event.target.id !== "types") return;
    event.preventDefault();
    const body = new URLSearchParams(new FormData(event.target));
    busy(true);
    try { await told(await post(`${job}/types`, body)); await outlook(); }
    catch (error) { alarm.textContent = error.message; } finally { busy(false); }
  });

  trial.addEventListener("click", async (event) => {
    const fix = event.target.closest("[data-fix]");
    if (!fix) return;
    const { column, day, point, group, charset, separator } = fix.dataset;
    const set = (name, value) => {
      const field = [...looks.querySelectorAll(`[name="${name}"]`)].find((f) => f.dataset.column === column);
      if (field && value) field.value = value;
    };
    if (charset || separator) {
      await look({ charset: charset || looks.querySelector('[name="charset"]').value, separator: separator || looks.querySelector('[name="separator"]').value });
    }
    set("date_format", day); set("decimal", point); set("thousands", group);
    form.requestSubmit();
  });
})();
