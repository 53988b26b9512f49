// What holds over all pairs: means, what B or any model is ahead of A, strata, cost.
const AHEAD = "ahead of A by";

// [n, clusters, mean, low, high, mean of a, mean of b] of what b is better than a by, kept for one order of the two.
function gainOf(metric, a, b, stratum) {
  if (a === b) return [0, 0, null, null, null, null, null];
  const kept = data.gains[metric.id][`${Math.min(a, b)} ${Math.max(a, b)}`][stratum];
  const [n, clusters, mean, low, high, first, second] = kept, turned = value => value === null ? null : -value;
  return a < b ? kept : [n, clusters, turned(mean), turned(high), turned(low), second, first];
}
function marked(gain, hint = "") {
  const [n, clusters, mean, low, high] = gain;
  const better = low !== null && low > 0, worse = high !== null && high < 0;
  if (mean === null) return el("span", {className: "mark"}, "–");
  const sign = better ? "▲" : worse ? "▼" : low === null ? "" : "≈";
  const said = low === null ? "no interval: it needs two driving videos"
    : better ? "better: the interval excludes 0" : worse ? "worse: the interval excludes 0" : "the interval includes 0";
  return el("span", {className: `mark ${better ? "better" : worse ? "worse" : ""}`,
    title: `${said}; ${n} pairs of ${clusters} driving videos${hint}`}, `${sign} ${number(mean, true)}${between(low, high, true)}`);
}
const between = (low, high, signed = false) => low === null ? "" : ` [${number(low, signed)}, ${number(high, signed)}]`;

function drawSummary() {
  const head = el("tr", {}, el("th", {scope: "col"}, "metric"), ...data.models.map((model, place) => el("th", {scope: "col"},
    place === chosen.a ? el("span", {className: "badge A"}, "A") : null,
    place === chosen.b ? el("span", {className: "badge B"}, "B") : null, model)));
  const rows = data.metrics.map(metric => el("tr", {},
    el("th", {scope: "row", title: metric.definition}, `${metric.name} ${metric.arrow}`,
      el("span", {className: "sub"}, metric.unit)),
    ...data.models.map((_, place) => {
      const cell = metric.cells[place];
      if (!cell || cell.mean === null) {
        return el("td", {}, el("span", {className: "soft"}, "no value"), el("span", {className: "sub"}, `0 of ${cell ? cell.asked : 0}`));
      }
      return el("td", {className: cell.best ? "best" : ""}, number(cell.mean),
        el("span", {className: "sub"}, `${between(cell.low, cell.high)} n = ${cell.n} of ${cell.asked}`),
        place === chosen.a ? null : marked(gainOf(metric, chosen.a, place, "")),
        cell.p === null || cell.against !== chosen.a ? null : el("span", {className: "sub"}, `p = ${cell.p.toPrecision(2)}`));
    })));
  byId("summary").replaceChildren(el("thead", {}, head), el("tbody", {}, ...rows));
}

function drawStrata() {
  const metric = data.metrics[chosen.metric], table = byId("strata");
  const row = (name, key, pairs) => {
    const gain = gainOf(metric, chosen.a, chosen.b, key), [n, , , , , first, second] = gain;
    return el("tr", {}, el("th", {scope: "row"}, name), el("td", {}, `${n} of ${pairs.length}`),
      el("td", {}, number(first)), el("td", {}, number(second)), el("td", {}, marked(gain)));
  };
  const rows = [row("all pairs", "", data.pairs)];
  for (const [name, values] of Object.entries(data.strata)) {
    for (const value of values) {
      rows.push(row(`${plain(name)}: ${plain(value)}`, `${name}=${value}`, data.pairs.filter(pair => pair.strata[name] === value)));
    }
  }
  const titles = ["stratum", "pairs with both", "mean of A", "mean of B", `B ${AHEAD}`];
  table.replaceChildren(el("thead", {}, el("tr", {}, ...titles.map(title => el("th", {scope: "col"}, title)))), el("tbody", {}, ...rows));
  byId("strata-metric").textContent = `${metric.name} ${metric.arrow}`;
}

function drawCosts() {
  if (!data.costs) return;
  const metric = data.metrics[chosen.metric], wide = 640, high = 300, left = 60, low = 36;
  const points = data.costs.map((cost, model) => ({cost, model, cell: metric.cells[model]}))
    .filter(({cost, cell}) => cost && cost.seconds !== null && cell && cell.mean !== null);
  const box = byId("costs-plot");
  if (!points.length) return box.replaceChildren(el("p", {className: "soft"}, "No model has both a cost and a value."));
  const scale = (values, begin, end) => {
    const least = Math.min(...values), span = Math.max(...values) - least || Math.abs(least) || 1;
    return {place: value => begin + (value - least + 0.08 * span) / (1.16 * span) * (end - begin), least, most: Math.max(...values)};
  };
  const x = scale(points.map(({cost}) => cost.seconds), left, wide - 20);
  const y = scale(points.flatMap(({cell}) => [cell.mean, cell.low ?? cell.mean, cell.high ?? cell.mean]), high - low, 14);
  const picture = drawn("svg", {viewBox: `0 0 ${wide} ${high}`, role: "img", "aria-label": `${metric.name} by seconds`},
    drawn("line", {class: "axis", x1: left, x2: wide, y1: high - low, y2: high - low}),
    drawn("line", {class: "axis", x1: left, x2: left, y1: 0, y2: high - low}),
    drawn("text", {x: wide, y: high - 4, "text-anchor": "end"}, "seconds a video"),
    ...[...new Set([x.least, x.most])].map(value => drawn("text", {x: x.place(value), y: high - 18, "text-anchor": "middle"}, number(value))),
    ...[...new Set([y.least, y.most])].map(value => drawn("text", {x: left - 6, y: y.place(value) + 4, "text-anchor": "end"}, number(value))));
  for (const {cost, model, cell} of points) {
    const side = model === chosen.a ? "A" : model === chosen.b ? "B" : "", at = x.place(cost.seconds);
    if (cell.low !== null) picture.append(drawn("line", {class: `cursor ${side} dot`, x1: at, x2: at, y1: y.place(cell.low), y2: y.place(cell.high)}));
    picture.append(drawn("circle", {cx: at, cy: y.place(cell.mean), r: 5, fill: side ? `var(--${side.toLowerCase()})` : "var(--soft)"}),
      drawn("text", {x: at > wide / 2 ? at - 9 : at + 9, y: y.place(cell.mean) - 7, "text-anchor": at > wide / 2 ? "end" : "start"}, data.models[model]));
  }
  box.replaceChildren(el("p", {className: "soft"}, `${metric.name} ${metric.arrow} by cost; lines are 95 % intervals`), picture);
}
