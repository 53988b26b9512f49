// One item at a time: players in step, a question per aspect, answers kept in the browser and downloaded as a file.
const data = readJson("data");
const ASPECTS = {
  motion: "Motion: which follows the driving video better?",
  identity: "Identity: which is more the person of the reference?",
  quality: "Quality: which looks better, with fewer faults?",
};
const CHOICES = {left: "Left is better", same: "The same", right: "Right is better"};
const place = `steadydancer-votes-${data.export}`;
const kept = {rater: "", votes: {}, ...recalled()};
let at = 0, players = null;

function recalled() {
  try {
    return JSON.parse(localStorage.getItem(place)) || {};
  } catch {
    return {};  // a browser that keeps nothing: the download still has all answers of this visit
  }
}
function keep() {
  try {
    localStorage.setItem(place, JSON.stringify(kept));
  } catch {
    byId("progress").title = "This browser keeps nothing: download before you close the page.";
  }
}
const answersOf = item => kept.votes[item.item] || {};
const isDone = item => Object.keys(ASPECTS).every(aspect => answersOf(item)[aspect]);

function answer(aspect, choice) {
  const item = data.items[at];
  kept.votes[item.item] = {...answersOf(item), [aspect]: choice};
  keep();
  ask();
}

function ask() {
  const item = data.items[at];
  byId("questions").replaceChildren(...Object.entries(ASPECTS).map(([aspect, question]) => {
    const buttons = Object.entries(CHOICES).map(([choice, text]) => el("button", {type: "button", className: "choice",
      "aria-pressed": String(answersOf(item)[aspect] === choice), "data-aspect": aspect, "data-choice": choice, onclick: () => answer(aspect, choice)}, text));
    return el("div", {className: "question", role: "group", "aria-label": question}, el("p", {}, question), el("div", {className: "choices"}, ...buttons));
  }));
  byId("progress").textContent = `${data.items.filter(isDone).length} of ${data.items.length} answered`;
  byId("place").textContent = `${at + 1} of ${data.items.length}`;
  byId("previous").disabled = at === 0;
  byId("next").disabled = at === data.items.length - 1;
  byId("open").disabled = data.items.every(isDone);
  byId("download").disabled = !kept.rater.trim() || !Object.keys(kept.votes).length;
}

function show(number) {
  if (!data.items[number]) return;
  at = number;
  if (players) players.close();
  const {reference, driving, left, right} = data.items[at];
  const specs = [{title: "reference", ...reference}, {title: "driving", ...driving}, {title: "left", ...left}, {title: "right", ...right}];
  players = openPlayers(specs, byId("players"), left.fps || right.fps || driving.fps);
  players.clock.seek(0);
  ask();
}

function nextOpen() {
  const order = data.items.map((_, step) => (at + 1 + step) % data.items.length);
  const found = order.find(number => !isDone(data.items[number]));
  if (found !== undefined) show(found);
}

function ballot() {
  const votes = data.items.flatMap(({item}) => Object.entries(kept.votes[item] || {}).map(([aspect, choice]) => ({item, aspect, choice})));
  return {format: 1, export: data.export, rater: kept.rater.trim(), votes};
}

function download() {
  const url = URL.createObjectURL(new Blob([JSON.stringify(ballot(), null, 1)], {type: "application/json"}));
  el("a", {href: url, download: `votes-${kept.rater.trim().replace(/[^\p{L}\p{N}]+/gu, "-")}.json`}).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

byId("rater").value = kept.rater;
byId("rater").oninput = event => { kept.rater = event.target.value; keep(); ask(); };
byId("previous").onclick = () => show(at - 1);
byId("next").onclick = () => show(at + 1);
byId("open").onclick = nextOpen;
byId("download").onclick = download;
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input[type=text], select")) return;
  const choice = {1: "left", 2: "same", 3: "right"}[event.key];
  const open = Object.keys(ASPECTS).find(aspect => !answersOf(data.items[at])[aspect]);
  if (choice && open) answer(open, choice);
  else if (event.key === "n") show(at + 1);
  else if (event.key === "p") show(at - 1);
  else steer(event, players.clock);
});
show(Math.max(0, data.items.findIndex(item => !isDone(item))));
