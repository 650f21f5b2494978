"use strict";
// The page is complete without this script. It adds the treemap, and the search.

const MIB = 1048576;

function human(bytes) {
  if (bytes < 1024) return `${bytes} B`;
  if (bytes < 102400) return `${(bytes / 1024).toFixed(1)} KiB`;
  if (bytes < 1024000) return `${(bytes / 1024).toFixed(0)} KiB`;
  return `${(bytes / MIB).toFixed(1)} MiB`;
}

function make(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// ---- the tree: {name, size, key, note, children}; a component's files become folders ----

function folders(files) {
  const root = { name: "", size: 0, inside: new Map() };
  for (const [path, size] of Object.entries(files)) {
    const parts = path.split("/");
    let place = root;
    parts.forEach((part, depth) => {
      place.size += size;
      const last = depth === parts.length - 1;
      // A file and a folder of one name cannot be; a name such as __proto__ can.
      if (!place.inside.has(part)) {
        place.inside.set(part, { name: part, size: 0, inside: last ? null : new Map() });
      }
      place = place.inside.get(part);
      if (last) place.size = size;
    });
  }
  return root;
}

function listed(folder) {
  // Folders with a single entry are joined with it: usr/lib/modules/6.12 is one step.
  return [...folder.inside.values()].map((entry) => {
    let name = entry.name;
    while (entry.inside && entry.inside.size === 1) {
      [entry] = entry.inside.values();
      name += `/${entry.name}`;
    }
    return { name, size: entry.size, children: entry.inside ? listed(entry) : [] };
  }).sort(bySize);
}

function bySize(a, b) {
  return b.size - a.size || (a.name < b.name ? -1 : 1);
}

function unfold(node) {
  // A folder that is nearly all there is would be a step without news: its entries stand for it.
  const [first] = node.children;
  if (!first || !first.children.length || first.size < 0.7 * node.size) return;
  const inner = first.children.map((child) => ({
    ...child,
    full: `${first.full || first.name}/${child.full || child.name}`,
  }));
  node.children = [...inner, ...node.children.slice(1)].sort(bySize);
}

function grow(node, parent) {
  // Links every node to its parent, and makes nodes of files.
  node.parent = parent;
  if (node.files) {
    let children = listed(folders(node.files));
    while (children.length === 1 && children[0].children.length) [{ children }] = children;
    node.children = children;
    delete node.files;
    for (let depth = 0; depth < 3; depth += 1) unfold(node);
  }
  if (parent && !node.key) node.key = parent.key;
  node.children = node.children || [];
  // A group of one component is that component.
  if (node.children.length === 1 && node.children[0].files) {
    const [only] = node.children;
    node.note = only.note;
    node.files = only.files;
    return grow(node, parent);
  }
  node.children.forEach((child) => grow(child, node));
  node.children.sort(bySize);
  return node;
}

// ---- layout: squarified treemaps (Bruls, Huizing, van Wijk 2000) ----

function squarify(nodes, box) {
  const total = nodes.reduce((sum, node) => sum + node.size, 0);
  const scale = (box.w * box.h) / (total || 1);
  const placed = [];
  let { x, y, w, h } = box;
  let rest = nodes.filter((node) => node.size > 0);
  while (rest.length) {
    const side = Math.min(w, h);
    let count = 1;
    let area = rest[0].size * scale;
    const worst = (sum, n) => {
      const thick = sum / side;
      return Math.max(
        ...[rest[0].size, rest[n - 1].size].map((size) => {
          const long = (size * scale) / thick;
          return Math.max(long / thick, thick / long);
        }),
      );
    };
    while (count < rest.length) {
      const next = area + rest[count].size * scale;
      if (worst(next, count + 1) > worst(area, count)) break;
      area = next;
      count += 1;
    }
    const thick = side > 0 ? area / side : 0;
    let along = 0;
    for (const node of rest.slice(0, count)) {
      const long = thick > 0 ? (node.size * scale) / thick : 0;
      placed.push(
        w >= h
          ? { node, x, y: y + along, w: thick, h: long }
          : { node, x: x + along, y, w: long, h: thick },
      );
      along += long;
    }
    if (w >= h) {
      x += thick;
      w -= thick;
    } else {
      y += thick;
      h -= thick;
    }
    rest = rest.slice(count);
  }
  return placed;
}

function gathered(node, area) {
  // What would be smaller than a finger's nail becomes one box that can be opened.
  const least = (node.size * 1300) / Math.max(area, 1);
  const shown = node.children.filter((child) => child.size >= least);
  const small = node.children.filter((child) => child.size < least && child.size > 0);
  if (small.length < 2) return [...shown, ...small];
  const size = small.reduce((sum, child) => sum + child.size, 0);
  const rest = {
    name: `${small.length} smaller`,
    size,
    key: node.key,
    parent: node,
    children: small,
    rest: true,
  };
  return [...shown, rest].sort(bySize);
}

// ---- the explorer ----

function explorer(element, trees) {
  const map = element.querySelector(".treemap");
  const crumbs = element.querySelector(".crumbs ol");
  const told = element.querySelector(".told");
  const ranking = element.querySelector(".ranking ol");
  const GAP = 2;
  const HEAD = 24;
  let here = null;

  const top = (node) => (node.parent ? top(node.parent) : node);
  const share = (node) => {
    const percent = (100 * node.size) / top(node).size;
    return percent < 0.1 ? "< 0.1 %" : `${percent.toFixed(1)} %`;
  };
  // Begins as a box is labelled: what is said of it must be what is seen on it.
  const describe = (node, name) => {
    const start = `${name} ${human(node.size)}`;
    if (!node.parent) return `${start} in the root`;
    return `${start}, ${share(node)} of the root${node.note ? `, version ${node.note}` : ""}`;
  };

  function tell(node) {
    told.textContent = describe(node, node.full || node.name);
  }

  function open(node, focus) {
    here = node;
    render();
    if (focus) {
      const first = map.querySelector("button");
      if (first) first.focus();
    }
  }

  function cell(node, box, className) {
    // What nobody could hit is in the list of its parent.
    if (box.w < 4 || box.h < 4) return;
    const opens = node.children.length > 0;
    const button = make("button", `cell ${className} ${node.key || "other"}${opens ? " opens" : ""}`);
    button.type = "button";
    Object.assign(button.style, {
      left: `${box.x}px`,
      top: `${box.y}px`,
      width: `${Math.max(0, box.w)}px`,
      height: `${Math.max(0, box.h)}px`,
    });
    button.setAttribute("aria-label", `${describe(node, node.name)}${opens ? ", open" : ""}`);
    button.tabIndex = -1;
    const upright = box.w >= 17 && box.w < 40 && box.h > 70;
    if (upright) button.classList.add("upright");
    if (upright || (box.w >= 40 && box.h >= 17)) {
      button.append(make("span", "name", node.name));
      if ((upright && box.h > 150) || (className === "head" && box.w > 150) || (!upright && box.h >= 36 && box.w >= 64)) {
        button.append(" ", make("span", "size", human(node.size)));
      }
    }
    button.addEventListener("click", () => (opens ? open(node, true) : tell(node)));
    button.addEventListener("focus", () => tell(node));
    button.addEventListener("pointerenter", () => tell(node));
    button.addEventListener("pointerleave", () => tell(here));
    map.append(button);
  }

  function draw() {
    map.textContent = "";
    const box = { x: 0, y: 0, w: map.clientWidth, h: map.clientHeight };
    const nodes = gathered(here, box.w * box.h);
    for (const place of squarify(nodes, box)) {
      const { node } = place;
      const inner = { x: place.x, y: place.y, w: place.w - GAP, h: place.h - GAP };
      const least = here.parent ? { w: 190, h: 130 } : { w: 70, h: 70 };
      const nested = node.children.length > 1 && !node.rest && inner.w > least.w && inner.h > least.h;
      if (!nested) {
        cell(node, inner, "leaf");
        continue;
      }
      cell(node, { ...inner, h: HEAD }, "head");
      const body = { x: inner.x, y: inner.y + HEAD, w: inner.w + GAP, h: inner.h - HEAD + GAP };
      for (const child of squarify(gathered(node, body.w * body.h), body)) {
        cell(child.node, { x: child.x, y: child.y, w: child.w - GAP, h: child.h - GAP }, "leaf");
      }
    }
    const first = map.querySelector("button");
    if (first) first.tabIndex = 0;
  }

  function renderCrumbs() {
    crumbs.textContent = "";
    const path = [];
    for (let node = here; node; node = node.parent) path.unshift(node);
    path.forEach((node, depth) => {
      const item = make("li");
      const name = depth ? node.name : "Root";
      if (node === here) {
        const current = make("span", "", name);
        current.setAttribute("aria-current", "location");
        item.append(current);
      } else {
        const button = make("button", "", name);
        button.type = "button";
        button.addEventListener("click", () => open(node, true));
        item.append(button);
      }
      crumbs.append(item);
    });
  }

  function renderRanking() {
    ranking.textContent = "";
    const nodes = here.parent ? here.children : here.children.flatMap((group) =>
      group.key === "package" ? group.children : [group]);
    const ranked = [...nodes].sort(bySize).slice(0, 12);
    for (const node of ranked) {
      const item = make("li", node.key || "other");
      const opens = node.children.length > 0;
      const label = make(opens ? "button" : "span", "entry");
      if (opens) {
        label.type = "button";
        label.addEventListener("click", () => open(node, true));
      }
      label.append(make("span", "name", node.full || node.name), make("span", "size", human(node.size)));
      const track = make("span", "track");
      const bar = make("span", "bar");
      bar.style.width = `${(100 * node.size) / ranked[0].size}%`;
      track.append(bar);
      item.append(label, track);
      ranking.append(item);
    }
  }

  function render() {
    draw();
    renderCrumbs();
    renderRanking();
    tell(here);
  }

  map.addEventListener("keydown", (event) => {
    const cells = [...map.querySelectorAll("button")];
    const at = cells.indexOf(document.activeElement);
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (step) {
      const next = cells[(at + step + cells.length) % cells.length];
      cells.forEach((one) => (one.tabIndex = one === next ? 0 : -1));
      next.focus();
    } else if ((event.key === "Escape" || event.key === "Backspace") && here.parent) {
      open(here.parent, true);
    } else {
      return;
    }
    event.preventDefault();
  });

  const buttons = [...element.querySelectorAll(".switch button")];
  const choose = (arch) => {
    buttons.forEach((one) => one.setAttribute("aria-pressed", String(one.dataset.arch === arch)));
    const tree = trees[arch];
    open(tree.grown || (tree.grown = grow(tree, null)));
  };
  buttons.forEach((one) => one.addEventListener("click", () => choose(one.dataset.arch)));
  element.hidden = false;
  if (buttons.length < 2) element.querySelector(".switch").hidden = true;
  choose(buttons[0].dataset.arch);
  let width = map.clientWidth;
  new ResizeObserver(() => {
    if (map.clientWidth === width) return;
    width = map.clientWidth;
    draw();
  }).observe(map);
}

// ---- the search ----

function search(form, table, more) {
  const FIRST = 20;
  const rows = [...table.tBodies[0].rows].map((row) => ({
    row,
    text: row.textContent.toLowerCase(),
    kind: row.dataset.kind,
  }));
  const input = form.querySelector("input");
  const select = form.querySelector("select");
  const output = form.querySelector("output");
  let all = false;

  function filter() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = rows.filter(
      (one) =>
        (!select.value || one.kind === select.value) &&
        words.every((word) => one.text.includes(word)),
    );
    const shown = new Set(all ? found : found.slice(0, FIRST));
    rows.forEach((one) => (one.row.hidden = !shown.has(one)));
    output.textContent =
      found.length === rows.length ? `${rows.length} components` : `${found.length} of ${rows.length}`;
    more.hidden = shown.size === found.length;
    more.textContent = `Show all ${found.length}`;
  }

  input.addEventListener("input", filter);
  select.addEventListener("change", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => {
    all = true;
    filter();
  });
  form.hidden = false;
  filter();
}

const trees = JSON.parse(document.getElementById("trees").textContent);
if (Object.keys(trees).length) {
  document.querySelectorAll(".scripted").forEach((one) => (one.hidden = false));
  explorer(document.getElementById("explorer"), trees);
}
const form = document.getElementById("search");
if (form) search(form, document.getElementById("sbom"), document.getElementById("more"));
