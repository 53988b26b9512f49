// The pairs: filtered, in the order of what B is ahead of A by, and opened one at a time.
const data = readJson("data");
const counts = data.metrics.map(metric => Math.max(...metric.cells.map(cell => cell ? cell.n : 0)));
const chosen = {a: 0, b: data.models.length - 1, metric: counts.indexOf(Math.max(...counts))};
const plain = text => text.replaceAll("_", " ");
const scoreOf = (pair, metric, model) => {
  const [value, status, reason, badness] = (pair.scores[metric.id] || [])[model] || [null, "none", "not asked for", null];
  return {value, status, reason, badness};
};
function gainIn(pair, metric = data.metrics[chosen.metric]) {
  const a = scoreOf(pair, metric, chosen.a).badness, b = scoreOf(pair, metric, chosen.b).badness;
  return a === null || b === null ? null : a - b;
}

let opened = null;  // {section, clock, close}
const sections = data.pairs.map(pair => {
  const gain = el("span", {className: "gain"}), inside = el("div", {className: "inside"});
  const section = el("details", {className: "pair card"}, el("summary", {}, el("b", {}, pair.id),
    ...Object.entries(pair.strata).map(([name, value]) => el("span", {className: "tag"}, `${plain(name)}: ${plain(value)}`)), gain), inside);
  section.ontoggle = () => {
    if (section.open && (!opened || opened.section !== section)) open(pair, section, inside);
    if (!section.open && opened && opened.section === section) shut();
  };
  return {pair, section, gain, inside};
});

function shut() {
  const {section, close} = opened;
  opened = null;
  close();
  section.open = false;
}

function open(pair, section, inside) {
  if (opened) shut();
  const [a, b] = [pair.videos[chosen.a], pair.videos[chosen.b]];
  const specs = [{title: "reference", ...pair.reference}, {title: "driving", ...pair.driving}, {title: "pose", ...pair.pose},
    {title: data.models[chosen.a], badge: "A", ...a}, {title: data.models[chosen.b], badge: "B", ...b}];
  const box = el("div"), moved = [];
  const players = openPlayers(specs, box, Math.max(a.fps || 0, b.fps || 0) || pair.driving.fps, () => moved.forEach(move => move()));
  const curves = curvesOf(pair, chosen.a, chosen.b, players.clock);
  moved.push(...curves.map(each => each.move));
  const below = el("div", {className: "below"},
    el("div", {className: "curves"}, ...(curves.length ? curves.map(each => each.figure) : [el("p", {className: "soft"}, "No curves of this pair.")])),
    el("div", {className: "scroll"}, scoreTable(pair)));
  inside.replaceChildren(el("p", {className: "soft"}, pair.prompt), box, below);
  opened = {section, clock: players.clock, close: () => { players.close(); inside.replaceChildren(); }};
  section.open = true;
  players.clock.seek(0);
}

function scoreTable(pair) {
  const cell = score => score.value === null
    ? el("td", {className: "text", title: score.status}, score.reason || plain(score.status)) : el("td", {}, number(score.value));
  const costs = pair.costs ? [["seconds", "seconds"], ["peak MiB", "peak_mib"]].map(([name, key]) => el("tr", {}, el("th", {scope: "row"}, name),
    ...[chosen.a, chosen.b].map(model => el("td", {}, number((pair.costs[model] || {})[key]))), el("td"))) : [];
  return el("table", {}, el("thead", {}, el("tr", {}, ...["metric", "A", "B", "B ahead"].map(title => el("th", {scope: "col"}, title)))),
    el("tbody", {}, ...data.metrics.map(metric => el("tr", {}, el("th", {scope: "row"}, `${metric.name} ${metric.arrow}`),
      cell(scoreOf(pair, metric, chosen.a)), cell(scoreOf(pair, metric, chosen.b)), el("td", {}, number(gainIn(pair, metric), true)))), ...costs));
}

function arrange() {
  const metric = data.metrics[chosen.metric], status = byId("status").value, order = byId("order").value;
  const wanted = [...document.querySelectorAll("select[data-stratum]")].filter(select => select.value !== "");
  const shown = pair => {
    const found = [chosen.a, chosen.b].map(model => scoreOf(pair, metric, model).status);
    const fits = status === "" || (status === "ok" ? found.every(each => each === "ok") : found.includes(status));
    return fits && wanted.every(select => pair.strata[select.dataset.stratum] === select.value);
  };
  const rank = {benchmark: () => 0, worse: gain => gain, better: gain => -gain, apart: gain => -Math.abs(gain)}[order];
  sections.forEach(({pair, section, gain}) => {
    const value = gainIn(pair), [a, b] = [chosen.a, chosen.b].map(model => number(scoreOf(pair, metric, model).value));
    section.hidden = !shown(pair);
    if (section.hidden && opened && opened.section === section) shut();
    gain.replaceChildren(el("span", {className: "in-a"}, `A ${a}`), " · ", el("span", {className: "in-b"}, `B ${b}`), " · ",
      el("b", {}, number(value, true)));
  });
  const place = ({pair}) => gainIn(pair) === null && order !== "benchmark" ? Infinity : rank(gainIn(pair));
  const sorted = sections.map((each, index) => ({...each, index})).sort((left, right) => {
    const [x, y] = [place(left), place(right)];
    return x === y ? left.index - right.index : x - y;
  });
  byId("pairs").append(...sorted.map(each => each.section));
  byId("count").textContent = `${sections.filter(each => !each.section.hidden).length} of ${sections.length} pairs`;
}

function redraw(again) {
  drawSummary();
  drawStrata();
  drawCosts();
  arrange();
  if (again && opened) {
    const {pair, section, inside} = sections.find(each => each.section === opened.section), frame = opened.clock.frame;
    open(pair, section, inside);
    opened.clock.seek(frame);
  }
}

function neighbour(step) {
  const visible = [...document.querySelectorAll("details.pair:not([hidden])")];
  const at = opened ? visible.indexOf(opened.section) + step : 0;
  if (visible[at]) {
    visible[at].open = true;
    visible[at].querySelector("summary").focus();
    visible[at].scrollIntoView({block: "start"});
  }
}

for (const [id, names] of [["a", data.models], ["b", data.models], ["metric", data.metrics.map(metric => metric.name)]]) {
  const select = byId(id);
  select.append(...names.map((name, value) => el("option", {value, selected: value === chosen[id]}, name)));
  select.onchange = () => { chosen[id] = Number(select.value); redraw(id !== "metric"); };
}
for (const [name, values] of Object.entries(data.strata)) {
  const select = el("select", {onchange: arrange}, el("option", {value: ""}, "all"), ...values.map(value => el("option", {value}, plain(value))));
  select.dataset.stratum = name;
  byId("filters").append(el("label", {}, plain(name), select));
}
byId("status").onchange = byId("order").onchange = arrange;
document.addEventListener("keydown", event => {
  if (!event.ctrlKey && !event.metaKey && !event.altKey && !event.target.closest("select, input") && "jk".includes(event.key)) {
    neighbour(event.key === "j" ? 1 : -1);
  } else if (opened) steer(event, opened.clock);
});
redraw(false);
const first = document.querySelector("details.pair:not([hidden])");
if (first) first.open = true;
