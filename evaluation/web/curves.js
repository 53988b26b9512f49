// The course of each metric over one pair's videos, with a cursor at the clock's time.
const WIDE = 320, HIGH = 96, EDGE = 4;

// courses: [{side: "A" or "B", values: [number or null by frame], fps}]
function curve(metric, courses, clock) {
  const known = courses.flatMap(course => course.values).filter(value => value !== null);
  const low = Math.min(...known), span = Math.max(...known) - low || 1;
  const x = time => EDGE + time / clock.duration * (WIDE - 2 * EDGE);
  const y = value => HIGH - EDGE - (value - low) / span * (HIGH - 2 * EDGE);
  const cursor = drawn("line", {class: "cursor", y1: 0, y2: HIGH});
  const picture = drawn("svg", {viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": `${metric.name} by frame`},
    drawn("line", {class: "axis", x1: 0, x2: WIDE, y1: HIGH - 1, y2: HIGH - 1}));
  for (const {side, values, fps} of courses) {
    let path = "", pen = "M";
    values.forEach((value, frame) => {
      if (value !== null) path += `${pen}${x((frame + 0.5) / fps).toFixed(1)} ${y(value).toFixed(1)}`;
      pen = value === null ? "M" : "L";
    });
    picture.append(drawn("path", {class: `line ${side}`, d: path, "stroke-linecap": "round"}));
  }
  picture.append(cursor);
  picture.onclick = event => {
    const box = picture.getBoundingClientRect();
    const time = ((event.clientX - box.left) / box.width * WIDE - EDGE) / (WIDE - 2 * EDGE) * clock.duration;
    clock.seek(Math.floor(time * clock.fps));
  };
  const readings = el("span");
  const range = el("span", {className: "soft"}, `${number(low)} to ${number(Math.max(...known))}`);
  const figure = el("div", {className: "curve"},
    el("p", {}, el("b", {}, `${metric.name} ${metric.arrow}`), range, readings), picture);
  const move = () => {
    cursor.setAttribute("x1", x(clock.time + 0.5 / clock.fps));
    cursor.setAttribute("x2", x(clock.time + 0.5 / clock.fps));
    readings.replaceChildren(...courses.map(({side, values, fps}) => {
      const value = values[Math.min(values.length - 1, Math.floor(clock.time * fps + EPSILON))];
      return el("span", {className: side === "A" ? "in-a" : "in-b"}, ` ${side} ${number(value)}`);
    }));
  };
  return {figure, move};
}

function curvesOf(pair, a, b, clock) {
  const found = [];
  for (const metric of data.metrics) {
    const courses = [];
    for (const [side, model] of [["A", a], ["B", b]]) {
      const values = (pair.curves[metric.id] || [])[model], player = pair.videos[model];
      if (values && values.some(value => value !== null) && player.fps) courses.push({side, values, fps: player.fps});
    }
    if (courses.length) found.push(curve(metric, courses, clock));
  }
  return found;
}
