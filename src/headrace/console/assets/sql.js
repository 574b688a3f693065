/* The SQL page: completion of tables and columns, running and cancelling, a grid that draws what is seen. */
"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const form = at("query"), text = at("sql"), list = at("words"), said = at("said"), result = at("result");
  const known = JSON.parse(at("known").textContent);
  const pool = form.dataset.pool, kept = `headrace-sql-${pool}`;
  const KEYWORDS = ["SELECT", "FROM", "WHERE", "GROUP BY", "ORDER BY", "HAVING", "LIMIT", "JOIN", "LEFT JOIN", "USING", "WITH", "UNION ALL", "DISTINCT", "count(*)", "sum", "avg", "min", "max", "CASE", "WHEN", "BETWEEN", "IS NULL", "IS NOT NULL", "AT (VERSION =>"];
  const el = (name, props = {}, ...children) => {
    const made = Object.assign(document.createElement(name), props);
    made.append(...children);
    return made;
  };

  // -- completion ------------------------------------------------------------------------------------

  const plain = (name) => (/^[a-z_][a-z0-9_]*$/i.test(name) ? name : `"${name.replaceAll('"', '""')}"`);
  const spelled = (name) => (name.includes(".") && /^[0-9a-f-]{36}\./.test(name) ? name.split(/\.(.*)/s).slice(0, 2).map(plain).join(".") : plain(name));

  function offers(word) {
    const used = Object.keys(known).filter((t) => text.value.toLowerCase().includes(t.toLowerCase()));
    const columns = new Map();
    for (const table of used.length ? used : Object.keys(known)) for (const c of known[table]) columns.set(c, table);
    const tables = Object.keys(known).map((name) => ({ name: spelled(name), match: name, what: "table" }));
    const fields = [...columns].map(([name, table]) => ({ name: plain(name), match: name, what: table }));
    const all = [
      ...(afterFrom(word) ? [...tables, ...fields] : [...fields, ...tables]),
      ...KEYWORDS.map((name) => ({ name, match: name, what: "" })),
    ];
    const low = word.toLowerCase();
    return all.filter((o) => o.match.toLowerCase().startsWith(low) && o.match.toLowerCase() !== low).slice(0, 40);
  }

  const afterFrom = (word) => /\b(from|join)\s+([^()]*,\s*)?$/i.test(text.value.slice(0, text.selectionStart - word.length));
  const wordBefore = () => /[\p{L}\p{N}_]+$/u.exec(text.value.slice(0, text.selectionStart))?.[0] ?? "";
  let chosen = 0, offered = [];

  function close() {
    list.hidden = true;
    offered = [];
    text.setAttribute("aria-expanded", "false");
    text.removeAttribute("aria-activedescendant");
  }

  function show() {
    const word = wordBefore();
    offered = word.length ? offers(word) : [];
    if (!offered.length) return close();
    chosen = 0;
    list.replaceChildren(...offered.map((o, n) => {
      const item = el("li", { id: `word-${n}`, role: "option" }, el("span", { textContent: o.name }), el("span", { className: "muted", textContent: o.what }));
      item.addEventListener("mousedown", (event) => { event.preventDefault(); chosen = n; take(); });
      return item;
    }));
    list.hidden = false;
    text.setAttribute("aria-expanded", "true");
    mark();
  }

  function mark() {
    [...list.children].forEach((item, n) => item.setAttribute("aria-selected", String(n === chosen)));
    list.children[chosen].scrollIntoView({ block: "nearest" });
    text.setAttribute("aria-activedescendant", `word-${chosen}`);
  }

  function take() {
    const end = text.selectionStart, start = end - wordBefore().length;
    text.setRangeText(offered[chosen].name, start, end, "end");
    close();
  }

  text.addEventListener("input", show);
  text.addEventListener("blur", close);
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); close(); form.requestSubmit(); return; }
    if (list.hidden) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) { event.preventDefault(); chosen = (chosen + step + offered.length) % offered.length; mark(); }
    else if (event.key === "Tab" || event.key === "Enter") { event.preventDefault(); take(); }
    else if (event.key === "Escape") { event.preventDefault(); close(); }
  });

  // -- running ---------------------------------------------------------------------------------------

  let running = null, answer = null;
  const run = at("run"), cancel = at("cancel");

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running || !text.value.trim()) return;
    const started = performance.now();
    running = new AbortController();
    run.disabled = true;
    cancel.hidden = false;
    said.className = "muted";
    const ticking = setInterval(() => { said.textContent = `${((performance.now() - started) / 1000).toFixed(1)} s`; }, 100);
    try {
      const body = new URLSearchParams({ sql: text.value });
      const reply = await fetch(form.dataset.run, { method: "POST", body, headers: { "X-CSRF-Token": window.headrace.csrf() }, signal: running.signal });
      const told = await reply.text();
      if (reply.ok && !reply.redirected) { answer = JSON.parse(told); draw(); remember(text.value); }
      else { fail(window.headrace.problem(told)); }
    } catch (error) {
      fail(error.name === "AbortError" ? "Cancelled." : "The server did not answer.");
    } finally {
      clearInterval(ticking);
      running = null;
      run.disabled = false;
      cancel.hidden = true;
    }
  });
  cancel.addEventListener("click", () => running?.abort());

  function fail(why) {
    answer = null;
    result.replaceChildren();
    picture("");
    at("save").hidden = true;
    said.className = "alarm";
    said.textContent = why;
  }

  // -- the grid --------------------------------------------------------------------------------------

  const ROW = 32, MORE = 20;

  function picture(html) {
    at("plot").innerHTML = html; // drawn, and escaped, by the server
    at("plot").hidden = !html;
  }

  function draw() {
    const { columns, rows, truncated, milliseconds, plot } = answer;
    picture(plot);
    said.className = "muted";
    said.textContent = `${rows.length.toLocaleString("en")} ${rows.length === 1 ? "row" : "rows"}${truncated ? " (there are more)" : ""} in ${milliseconds} ms`;
    const head = el("tr", {}, el("th", { className: "index", scope: "col", textContent: "#" }));
    for (const { name, type } of columns) head.append(el("th", { scope: "col", textContent: name, title: `${name}: ${type}`, className: isNumber(type) ? "num" : "" }));
    const body = el("tbody"), top = el("tr", { className: "pad" }), bottom = el("tr", { className: "pad" });
    const above = el("td", { colSpan: columns.length + 1 }), below = el("td", { colSpan: columns.length + 1 });
    top.append(above);
    bottom.append(below);
    const table = el("table", {}, el("thead", {}, head), body);
    table.setAttribute("aria-rowcount", rows.length + 1);
    const grid = el("div", { className: "grid", tabIndex: 0 }, table);
    grid.setAttribute("role", "region");
    grid.setAttribute("aria-label", "Rows");
    let drawn = "";
    const fill = () => {
      const from = Math.max(0, Math.floor(grid.scrollTop / ROW) - MORE);
      const to = Math.min(rows.length, Math.ceil((grid.scrollTop + 480) / ROW) + MORE);
      if (drawn === `${from}-${to}`) return;
      drawn = `${from}-${to}`;
      above.style.height = `${from * ROW}px`; // by the object: the policy closes the attribute alone
      below.style.height = `${(rows.length - to) * ROW}px`;
      body.replaceChildren(top, ...rows.slice(from, to).map((row, n) => line(row, from + n, columns)), bottom);
    };
    grid.addEventListener("scroll", fill, { passive: true });
    result.replaceChildren(grid);
    at("save").hidden = false;
    fill();
  }

  const isNumber = (type) => /INT|DECIMAL|DOUBLE|FLOAT/.test(type) && !/\[|\(.*[A-Z]/.test(type);

  function line(row, n, columns) {
    const made = el("tr", {}, el("td", { className: "index", textContent: n + 1 }));
    made.setAttribute("aria-rowindex", n + 2);
    row.forEach((value, at) => {
      const shown = value === null ? "NULL" : typeof value === "object" ? JSON.stringify(value) : String(value);
      made.append(el("td", { textContent: shown, title: shown.length > 40 ? shown : "", className: value === null ? "null" : isNumber(columns[at].type) ? "num" : "" }));
    });
    return made;
  }

  // -- export, history, a link -----------------------------------------------------------------------

  at("save").addEventListener("click", () => {
    const cell = (v) => (v === null ? "" : /[",\r\n]|^$/.test(v = typeof v === "object" ? JSON.stringify(v) : String(v)) ? `"${v.replaceAll('"', '""')}"` : v);
    const lines = [answer.columns.map((c) => c.name), ...answer.rows].map((row) => row.map(cell).join(","));
    const url = URL.createObjectURL(new Blob([lines.join("\r\n") + "\r\n"], { type: "text/csv" }));
    el("a", { href: url, download: "query.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
  });

  const history = () => { try { return JSON.parse(localStorage.getItem(kept)) ?? []; } catch { return []; } };
  function remember(sql) {
    const next = [sql, ...history().filter((old) => old !== sql)].slice(0, 30);
    try { localStorage.setItem(kept, JSON.stringify(next)); } catch { /* it is full, or closed to us */ }
    list_history();
  }
  function list_history() {
    const past = history();
    at("history").replaceChildren(...past.map((sql) => {
      const button = el("button", { type: "button", className: "quiet mono cut", textContent: sql.replace(/\s+/g, " "), title: sql });
      button.addEventListener("click", () => { text.value = sql; text.focus(); });
      return el("li", {}, button);
    }));
    at("no-history").hidden = past.length > 0;
    at("history").hidden = !past.length;
  }
  list_history();

  at("share").hidden = false;
  at("share").addEventListener("click", async () => {
    window.location.hash = new URLSearchParams({ sql: text.value }).toString();
    at("shared").textContent = "The address of this page holds the query now.";
    try { await navigator.clipboard.writeText(window.location.href); at("shared").textContent = "The link is copied."; } catch { /* it stands in the address */ }
  });
  const linked = new URLSearchParams(window.location.hash.slice(1)).get("sql");
  if (linked) text.value = linked;
})();
