// The list, the basket and the picture, on the server's pages and on those of a folder alike.
"use strict";

const body = document.body;
const root = body.dataset.root;
const isStatic = "static" in body.dataset;
const PAGE_SIZE = 50;
const find = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];

document.documentElement.classList.add("js");

function make(tag, text, attributes = {}) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function scaled(number, units) {
  let i = 0;
  while (number >= 1000 && i < units.length - 1) { number /= 1000; i += 1; }
  return `${number.toFixed(i === 0 ? 0 : 1)} ${units[i]}`.trim();
}
const size = (bytes) => scaled(bytes, ["bytes", "kB", "MB", "GB"]);
const count = (n) => scaled(n, ["", "k", "M", "G", "T"]);
const share = (value) => (value === null ? "–" : value.toFixed(3));
const listed = (names, n) =>
  names.slice(0, n).join(", ") + (names.length > n ? ` and ${names.length - n} more` : "");
const counted = (n) => `${n.toLocaleString("en")} ${n === 1 ? "module" : "modules"}`;

async function readJson(address, options) {
  let answer;
  try {
    answer = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("There is no answer: is the server still running?");
  }
  const data = await answer.json().catch(() => null);
  if (!answer.ok || data === null) throw new Error((data && data.error) || `The answer is ${answer.status}.`);
  return data;
}

// --- what is ticked: names, in this browser alone -----------------------------------------------

const KEPT = `modpm-basket:${find(".place").textContent}`;

function ticked() {
  try {
    const names = JSON.parse(localStorage.getItem(KEPT) || "[]");
    return Array.isArray(names) ? names.filter((name) => typeof name === "string") : [];
  } catch {
    return [];
  }
}

function keep(names) {
  try {
    localStorage.setItem(KEPT, JSON.stringify(names));
  } catch { /* a browser that keeps nothing still shows what is ticked on this page */ }
  showCount(names);
}

function showCount(names = ticked()) {
  const badge = find("[data-count]");
  badge.hidden = names.length === 0;
  badge.textContent = names.length;
}

function showTicks(within = document) {
  const names = new Set(ticked());
  for (const box of all("[data-tick]", within)) box.checked = names.has(box.dataset.tick);
}

document.addEventListener("change", (event) => {
  const name = event.target.dataset.tick;
  if (name === undefined) return;
  const others = ticked().filter((one) => one !== name);
  keep(event.target.checked ? [...others, name] : others);
});

// --- copying ------------------------------------------------------------------------------------

for (const button of all("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

// --- the list -----------------------------------------------------------------------------------

const ORDERS = {
  name: () => 0,
  recall: (a, b) => (b.recall ?? -1) - (a.recall ?? -1),
  size: (a, b) => a.size_bytes - b.size_bytes,
};

/** Return what the whole catalogue has for a query, as the server would. */
function looked(rows, wish) {
  const words = (wish.q || "").toLowerCase().split(/\s+/).filter(Boolean);
  const found = rows.filter((row) => {
    const has = (label) => label === wish.class || label.slice(label.indexOf("/") + 1) === wish.class;
    return words.every((word) => row.text.includes(word)) &&
      (!wish.class || row.labels.some(has)) &&
      (!wish.namespace || row.namespace === wish.namespace) &&
      (!wish.license || row.license === wish.license) &&
      (!wish.origin || row.origin === wish.origin) &&
      (!wish.signer || (row.signer || "none") === wish.signer) &&
      (!wish.min_recall || (row.recall !== null && row.recall >= Number(wish.min_recall))) &&
      (!wish.max_mb || row.size_bytes <= Number(wish.max_mb) * 1e6);
  });
  return wish.sort in ORDERS ? found.sort(ORDERS[wish.sort]) : found;
}

let catalogue = null;
function wholeCatalogue() {
  catalogue ??= readJson("catalogue.json").then(({ rows }) => {
    for (const row of rows) {
      row.text = `${row.namespace}/${row.name} ${row.labels.join(" ")} ${row.summary}`.toLowerCase();
    }
    return rows;
  }).catch((error) => { catalogue = null; throw error; });
  return catalogue;
}

let asked = null;
async function pageOf(wish, number) {
  if (isStatic) {
    const found = looked(await wholeCatalogue(), wish);
    const first = (number - 1) * PAGE_SIZE;
    return { rows: found.slice(first, first + PAGE_SIZE), n: found.length, page: number };
  }
  asked?.abort();
  asked = new AbortController();
  const query = new URLSearchParams({ ...wish, page: number });
  return readJson(`catalogue.json?${query}`, { signal: asked.signal });
}

function rowOf(row) {
  const line = find("#row").content.cloneNode(true);
  const name = `${row.namespace}/${row.name}`;
  const text = {
    namespace: `${row.namespace}/`, name: row.name, version: row.version, summary: row.summary,
    labels: listed(row.labels, 3), recall: share(row.recall), precision: share(row.precision),
    accuracy: share(row.accuracy), size: size(row.size_bytes), license: row.license,
  };
  for (const [field, value] of Object.entries(text)) find(`[data-f=${field}]`, line).textContent = value;
  find("[data-f=link]", line).setAttribute("href", `${root}m/${row.namespace}/${row.name}.html`);
  find("[data-f=composition]", line).hidden = row.kind !== "composition";
  const box = find("[data-tick]", line);
  box.dataset.tick = name;
  box.setAttribute("aria-label", `Put ${name} into the basket`);
  return line;
}

function startList() {
  const form = find("form.search");
  const pages = find("[data-pages]");
  let number = 1;
  const wish = () =>
    Object.fromEntries([...new FormData(form)].map(([k, v]) => [k, v.trim()]).filter(([, v]) => v));

  function show({ rows, n, page }) {
    number = page;
    const list = find("[data-rows]"), lines = rows.map((row) => rowOf(row).firstElementChild);
    const isSame = lines.length === list.children.length
      && lines.every((line, i) => line.isEqualNode(list.children[i]));
    if (!isSame) list.replaceChildren(...lines); // what is the same keeps the focus
    find("table.modules").hidden = rows.length === 0;
    find("[data-empty]").hidden = rows.length > 0;
    const isMore = !isStatic && n >= 10000;
    find("[data-found]").textContent = counted(n) + (isMore ? " or more" : "");
    const last = Math.max(1, Math.ceil(n / PAGE_SIZE));
    pages.hidden = last === 1;
    find("[data-number]").textContent = `Page ${page} of ${last}${isMore ? " or more" : ""}`;
    find("[data-go='-1']").disabled = page === 1;
    find("[data-go='1']").disabled = isMore ? rows.length < PAGE_SIZE : page >= last;
    showTicks();
  }

  async function look(page = 1) {
    const { sort, ...others } = wish();
    const said = { ...others, ...(sort === "name" ? {} : { sort }), ...(page > 1 ? { page } : {}) };
    const query = new URLSearchParams(said).toString();
    history.replaceState(null, "", query ? `?${query}` : location.pathname);
    try {
      show(await pageOf(wish(), page));
    } catch (error) {
      if (error.name !== "AbortError") find("[data-found]").textContent = error.message;
    }
  }

  let waiting = 0;
  for (const kind of ["input", "change"]) {
    form.addEventListener(kind, () => {
      clearTimeout(waiting);
      waiting = setTimeout(look, 60);
    });
  }
  form.addEventListener("submit", (event) => { event.preventDefault(); look(); });
  form.addEventListener("reset", () => setTimeout(() => {
    for (const field of all("input, select", form)) {
      if (field.name !== "q" && field.name !== "sort") field.value = "";
    }
    look();
  }));
  for (const button of all("[data-go]")) {
    button.addEventListener("click", async () => {
      await look(number + Number(button.dataset.go));
      scrollTo(0, 0);
      if (button.disabled) find("[data-go]:not(:disabled)").focus();
    });
  }
  if (isStatic) {
    const given = new URLSearchParams(location.search);
    for (const field of all("input, select", form)) {
      if (given.has(field.name)) field.value = given.get(field.name);
    }
    // Even without a query: a folder may have more pages than the one that is written.
    look(Number(given.get("page")) || 1);
    find("details", form).open = [...given.keys()].some((key) => !["q", "sort", "page"].includes(key));
  }
}

// --- the basket ---------------------------------------------------------------------------------

const sum = (items, field) => items.reduce((total, item) => total + (item[field] || 0), 0);
const union = (lists) => [...new Set(lists.flat())].sort();

/** Return in words why modules do not go together, or not as they seem to. */
function conflicts(items) {
  const said = [];
  const kinds = union(items.filter((one) => one.input).map((one) => one.input));
  if (kinds.length > 1) {
    said.push(`They read different kinds of images (${kinds.join("; ")}): each picture is prepared for each kind.`);
  }
  const labels = new Map();
  for (const item of items) {
    for (const label of item.labels) labels.set(label, [...(labels.get(label) || []), name(item)]);
  }
  for (const [label, names] of labels) {
    if (names.length > 1) {
      said.push(`${names.join(" and ")} all recognize ${label}: give all but one another name by --alias.`);
    }
  }
  return said;
}
const name = (item) => `${item.namespace}/${item.name}`;

function lineOf(items, registry) {
  const names = items.map(name).join(" ");
  const from = registry ? ` --registry ${/^[\w@%+=:,.\/-]+$/.test(registry) ? registry : `'${registry.replaceAll("'", "'\\''")}'`}` : "";
  return `modpm install ${names}${from} && modpm compose ${names} -o classifier`;
}

function shared(nOrigins, nModules) {
  if (nOrigins === 1 && nModules > 1) return "at most: of one origin, they share kernels";
  const of = `of ${nOrigins} ${nOrigins === 1 ? "origin" : "origins"}`;
  return nOrigins < nModules ? `at most: ${of}, within which they share kernels` : of;
}

async function showBasket() {
  const names = ticked();
  const absent = [];
  const items = (await Promise.all(names.map(async (one) => {
    try {
      return await readJson(`${root}m/${one.split("/").map(encodeURIComponent).join("/")}.json`);
    } catch (error) {
      absent.push(`${one}: ${error.message}`);
      return null;
    }
  }))).filter(Boolean);
  find("[data-filled]").hidden = names.length === 0;
  const list = find("[data-items]");
  list.replaceChildren(...names.map((one) => {
    const item = items.find((other) => name(other) === one);
    const line = make("li");
    const what = make("div");
    what.append(item ? make("a", one, { href: `${root}m/${one}.html` }) : make("span", one));
    what.append(make("span", item ? ` ${item.version} · ${listed(item.labels, 3)} · ${size(item.size_bytes)}` : " cannot be shown", { class: "version" }));
    const remove = make("button", "Remove", { type: "button", "aria-label": `Remove ${one}` });
    remove.addEventListener("click", () => {
      keep(ticked().filter((other) => other !== one));
      showBasket().then(() => (find("[data-items] button") || find("main")).focus());
    });
    line.append(what, remove);
    return line;
  }));
  const origins = union(items.filter((one) => one.origin).map((one) => one.origin));
  const sums = {
    size: size(Object.values(Object.assign({}, ...items.map((one) => one.files))).reduce((a, b) => a + b, 0)),
    tensors: size(sum(items, "tensors_bytes")),
    macs: count(sum(items, "macs")),
    time: items.every((one) => one.milliseconds) ? `${Number(sum(items, "milliseconds").toPrecision(2))} ms` : "not known",
    classes: union(items.map((one) => one.labels)).length,
    sharing: shared(origins.length, items.filter((one) => one.origin).length),
    licenses: union(items.map((one) => one.license)).join(", ") || "–",
    data: union(items.map((one) => one.data)).join(", ") || "not said",
  };
  for (const place of all("[data-sum]")) place.textContent = sums[place.dataset.sum];
  find("[data-conflicts]").replaceChildren(...[...absent, ...conflicts(items)].map((text) => make("li", text)));
  find("[data-line]").textContent = lineOf(items, find("#line").dataset.registry);
}

// --- a picture ----------------------------------------------------------------------------------

function startPicture() {
  const drop = find("[data-drop]");
  if (!drop) return;
  const output = find("[data-scores]");
  const token = find("meta[name=modpm-token]").content;
  const say = (text, kind = "notice") => output.replaceChildren(make("p", text, { class: kind }));

  async function judge(picture) {
    say("Looking …", "aside");
    try {
      const names = encodeURIComponent(ticked().join(","));
      const { scores } = await readJson(`${root}scores?names=${names}`, {
        method: "POST", body: picture, headers: { "X-Modpm-Token": token },
      });
      showScores(scores);
    } catch (error) {
      say(error.message);
    }
  }

  function showScores(scores) {
    const table = make("table", undefined, { class: "scores" });
    table.append(make("caption", "How likely the picture shows each class, if half of all pictures did", { class: "hidden" }));
    for (const [i, one] of scores.entries()) {
      const line = table.insertRow();
      if (i === 0 && one.score > 0) line.className = "best";
      const meter = make("meter", undefined, { min: 0, max: 1, value: one.probability, "aria-label": one.label });
      const cell = make("td", undefined, { class: "drawn" });
      cell.append(meter);
      line.append(make("th", one.label, { scope: "row" }), cell, make("td", `${(100 * one.probability).toFixed(2)} %`, { class: "number" }));
    }
    const isNone = scores.every((one) => one.score <= 0);
    output.replaceChildren(
      make("p", isNone ? "None of the above: no score is above 0." : `Most likely: ${scores[0].label}.`, { class: "lead" }),
      table,
    );
  }

  find("[data-file]").addEventListener("change", (event) => {
    if (event.target.files.length > 0) judge(event.target.files[0]);
    event.target.value = "";
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      if (kind !== "drop") return;
      const picture = event.dataTransfer.files[0];
      if (picture) judge(picture);
      else say("That is no file: drop a picture from a folder.");
    });
  }

  const video = find("[data-video]");
  const shutter = find("[data-shutter]");
  const close = () => {
    for (const track of video.srcObject?.getTracks() || []) track.stop();
    video.srcObject = null;
    video.hidden = shutter.hidden = true;
  };
  find("[data-camera]").addEventListener("click", async () => {
    if (video.srcObject) { close(); return; }
    try {
      video.srcObject = await navigator.mediaDevices.getUserMedia({ video: true });
      video.hidden = shutter.hidden = false;
      await video.play();
    } catch (error) {
      close();
      say(`The camera cannot be used: ${error.message || error.name}`);
    }
  });
  find("[data-shoot]").addEventListener("click", () => {
    const canvas = make("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    canvas.getContext("2d").drawImage(video, 0, 0);
    close();
    canvas.toBlob((picture) => picture && judge(picture), "image/png");
  });
}

showCount();
showTicks();
if (body.dataset.page === "list") startList();
if (body.dataset.page === "basket") { showBasket(); startPicture(); }
