// Players on one clock. While it runs, a player that is early or late plays a little slower or faster, one that is far
// off is sought, and the clock waits for any that seeks or has nothing to show. At rest each player is sought to the
// middle of the frame it shows at the clock's time: rates may differ, the moments are the same.
const FAR = 0.15, EPSILON = 1e-3;

class Clock {
  constructor(tracks, fps, shown) {  // tracks: [{video, fps, frames}], fps: what a step is counted in
    Object.assign(this, {tracks, fps, shown, time: 0, speed: 1, playing: false, last: 0, alive: true});
    this.duration = Math.max(0, ...tracks.map(track => track.frames / track.fps));
    this.frames = Math.max(1, Math.round(this.duration * fps));
    for (const track of tracks) {
      for (const event of ["loadedmetadata", "seeked"]) track.video.addEventListener(event, () => this.rest(track));
    }
  }
  frameOf(track) {
    return Math.min(track.frames - 1, Math.floor(this.time * track.fps + EPSILON));
  }
  get frame() {
    return Math.min(this.frames - 1, Math.floor(this.time * this.fps + EPSILON));
  }
  rest(track) {
    if (this.playing || !this.alive || track.video.seeking || track.video.readyState < 1) return;
    const time = (this.frameOf(track) + 0.5) / track.fps;
    if (Math.abs(track.video.currentTime - time) > 0.01 / track.fps) track.video.currentTime = time;
  }
  seek(frame) {
    this.pause();
    this.time = Math.min(this.frames - 1, Math.max(0, frame)) / this.fps;
    this.tracks.forEach(track => this.rest(track));
    this.shown(this);
  }
  pause() {
    this.playing = false;
    this.tracks.forEach(track => track.video.pause());
    this.time = this.frame / this.fps;
    this.tracks.forEach(track => this.rest(track));
    this.shown(this);
  }
  play() {
    if (this.playing || !this.tracks.length) return;
    if (this.frame === this.frames - 1) this.time = 0;
    this.playing = true;
    this.last = performance.now();
    requestAnimationFrame(() => this.tick());
  }
  toggle() {
    if (this.playing) this.pause(); else this.play();
  }
  close() {
    this.alive = false;
    this.playing = false;
  }
  tick() {
    if (!this.playing) return;
    const now = performance.now();
    const waiting = this.tracks.some(({video}) => !video.error && (video.seeking || video.readyState < 2));
    if (!waiting) this.time += Math.min(0.1, Math.max(0, now - this.last) / 1000) * this.speed;
    this.last = now;
    if (this.time >= this.duration) this.time = 0;
    this.tracks.forEach(track => this.follow(track, waiting));
    this.shown(this);
    requestAnimationFrame(() => this.tick());
  }
  follow(track, waiting) {
    const {video, fps, frames} = track, end = (frames - 0.5) / fps;
    if (video.seeking || video.readyState < 1) return;
    const late = Math.min(this.time, end) - video.currentTime;
    if (Math.abs(late) > FAR) video.currentTime += late;
    if (waiting || this.time >= end) {
      video.pause();
      return;
    }
    const rate = this.speed * Math.min(1.25, Math.max(0.8, 1 + 2 * late));
    if (Math.abs(video.playbackRate - rate) > 0.01) video.playbackRate = rate;
    if (video.paused) video.play().catch(() => {});  // a pause may overtake it
  }
}

// A medium lies in the page as text and becomes a blob when it is looked at.
function blobOf(key) {
  const uri = document.querySelector(`script[data-key="${key}"]`).textContent;
  const comma = uri.indexOf(","), kind = uri.slice(5, uri.indexOf(";"));
  const bytes = Uint8Array.from(atob(uri.slice(comma + 1)), letter => letter.charCodeAt(0));
  return URL.createObjectURL(new Blob([bytes], {type: kind}));
}

// specs: [{title, badge, key, fps, frames} or {title, reason}]; pictures have no fps. Returns {clock, close}.
function openPlayers(specs, box, fps, shown = () => {}) {
  const tracks = [], urls = [];
  const screens = el("div", {className: "players"});
  for (const spec of specs) {
    const badge = spec.badge ? el("span", {className: `badge ${spec.badge}`}, spec.badge) : null;
    const figure = el("figure", {}, el("figcaption", {}, badge, spec.title));
    if (!spec.key) {
      figure.append(el("div", {className: "screen none"}, spec.reason));
    } else {
      const url = blobOf(spec.key);
      urls.push(url);
      if (spec.fps) {
        const video = el("video", {className: "screen", muted: true, playsInline: true, preload: "auto", src: url});
        const failed = () => video.replaceWith(el("div", {className: "screen none"}, "this browser cannot play it"));
        video.addEventListener("error", failed);
        video.setAttribute("aria-label", spec.title);
        tracks.push({video, fps: spec.fps, frames: spec.frames});
        figure.append(video);
      } else {
        figure.append(el("img", {className: "screen", alt: spec.title, src: url}));
      }
    }
    screens.append(figure);
  }
  const play = el("button", {type: "button", className: "play", "aria-keyshortcuts": "Space"}, "Play");
  const range = el("input", {type: "range", min: 0, value: 0, "aria-label": "frame"});
  const text = el("span", {className: "clock"});
  const speed = el("select", {"aria-label": "speed"},
    ...[0.1, 0.25, 0.5, 1, 2].map(value => el("option", {value, selected: value === 1}, `${value}×`)));
  const clock = new Clock(tracks, fps || 16, now => {
    range.value = now.frame;
    play.textContent = now.playing ? "Pause" : "Play";
    text.textContent = `frame ${now.frame + 1} of ${now.frames} · ${now.time.toFixed(2)} s`;
    shown(now);
  });
  range.max = clock.frames - 1;
  play.disabled = range.disabled = speed.disabled = !tracks.length;
  play.onclick = () => clock.toggle();
  range.oninput = () => clock.seek(Number(range.value));
  speed.onchange = () => { clock.speed = Number(speed.value); };
  const shapes = tracks.map(track => track.video);
  const fit = () => {  // one shape for all: that of the last player
    const last = shapes[shapes.length - 1];
    if (last.videoWidth) screens.style.setProperty("--shape", `${last.videoWidth} / ${last.videoHeight}`);
  };
  shapes.forEach(video => video.addEventListener("loadedmetadata", fit));
  box.append(screens, el("div", {className: "transport"}, play, range, text, speed));
  const close = () => {
    clock.close();
    shapes.forEach(video => video.removeAttribute("src"));
    urls.forEach(url => URL.revokeObjectURL(url));
    box.replaceChildren();
  };
  return {clock, close};
}

// Space, arrows, Home and End steer the clock, unless they mean something where the focus is.
function steer(event, clock) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, input[type=text]")) return;
  if (event.key === " " ? event.target.closest("button, summary, a") : event.target.closest("input")) return;
  const step = event.shiftKey ? 10 : 1;
  const actions = {
    " ": () => clock.toggle(),
    ArrowLeft: () => clock.seek(clock.frame - step),
    ArrowRight: () => clock.seek(clock.frame + step),
    Home: () => clock.seek(0),
    End: () => clock.seek(clock.frames - 1),
  };
  if (actions[event.key]) {
    event.preventDefault();
    actions[event.key]();
  }
}
