"use strict";
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent), audio = $("audio");
const ICONS = { play: "M3 1.5v15l13-7.5z", pause: "M3 2h4.5v14H3zM10.5 2H15v14h-4.5z" };
const order = data.speakers.map((one) => one.speaker);
const colour = (who) => `var(--c${Math.max(0, order.indexOf(who)) % 8})`;
const make = (tag, kind, text, ...inside) => {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  if (text) node.textContent = text;
  node.append(...inside);
  return node;
};
const clock = (s) => `${s >= 3600 ? `${Math.floor(s / 3600)}:` : ""}${String(Math.floor(s / 60) % 60).padStart(s >= 3600 ? 2 : 1, "0")}:${String(Math.floor(s) % 60).padStart(2, "0")}`;
const quoted = (text) => (/^[\w@%+=:,./][\w@%+=:,./-]*$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);
const percent = (p) => (p > 0.999 ? "over 99.9 %" : p < 0.001 ? "under 0.1 %" : `${(100 * p).toFixed(1)} %`);

let until = null;
function go(start, end) {
  audio.currentTime = start;
  until = end;
  audio.play();
}

function card(one) {
  const spoke = `${one.speech_s.toFixed(1)} s of speech in ${one.turns} turn${one.turns === 1 ? "" : "s"}`;
  const box = make("div", "speaker", "", make("h3", "", one.speaker), make("p", "soft", spoke));
  box.style.setProperty("--colour", colour(one.speaker));
  if (one.llr !== null) {
    const sure = `LLR ${one.llr.toFixed(1)}, ${one.known ? "needed" : "and a name needs"} ${one.threshold.toFixed(1)}`;
    box.append(make("p", "", one.known ? `${percent(one.probability)} sure (${sure})` : `nearest: ${one.nearest} (${sure})`));
  }
  if (one.known || !/\d$/.test(one.speaker)) return box;
  const input = make("input"), code = make("code"), copy = make("button", "", "Copy");
  input.autocomplete = "off";
  input.placeholder = "Bob";
  const command = make("div", "command", "", code, copy);
  command.hidden = true;
  input.oninput = () => {
    const name = input.value.trim();
    command.hidden = !name;
    code.textContent = `voxid enroll ${quoted(name)} --from ${quoted(data.path)} --speaker ${quoted(one.speaker)}${data.where}`;
    copy.textContent = "Copy";
  };
  copy.onclick = async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // no clipboard here: Ctrl-C does it
    }
  };
  box.append(make("label", "", `Who is ${one.speaker}?`, input), command);
  return box;
}

const rows = data.turns.map((turn) => {
  const note = make("span", turn.doubtful ? "doubt" : "", turn.doubtful ? "doubtful" : turn.llr === null ? "" : `LLR ${turn.llr.toFixed(1)}`);
  const button = make("button", "turn", "", make("time", "", clock(turn.start)), make("b", "", turn.speaker), note);
  button.style.setProperty("--colour", colour(turn.speaker));
  button.onclick = () => go(turn.start, turn.end);
  $("turns").append(make("li", "", "", button));
  return button;
});
$("title").textContent = data.name;
$("about").textContent = `${clock(data.total_s)}, ${order.length} speaker${order.length === 1 ? "" : "s"}, ${data.turns.length} turns. ${data.sound}`;
$("speakers").append(...data.speakers.map(card));
$("warnings").append(...data.warnings.map((said) => make("li", "", said)));
audio.src = data.src;

function draw() {
  const canvas = $("wave"), style = getComputedStyle(document.documentElement), scale = devicePixelRatio || 1;
  const width = (canvas.width = canvas.clientWidth * scale), height = (canvas.height = canvas.clientHeight * scale);
  const pen = canvas.getContext("2d"), bar = 3 * scale, count = Math.max(1, Math.floor(width / bar));
  const at = (audio.currentTime / data.total_s) * width;
  for (let i = 0, t = 0; i < count; i++) {
    const from = Math.floor((i * data.peaks.length) / count), to = Math.max(from + 1, Math.floor(((i + 1) * data.peaks.length) / count));
    const peak = Math.max(...data.peaks.slice(from, to)) / 255, seconds = ((i + 0.5) / count) * data.total_s;
    while (t < data.turns.length && data.turns[t].end < seconds) t++;
    const turn = data.turns.slice(t).find((one) => one.start <= seconds && seconds <= one.end);
    pen.fillStyle = turn ? style.getPropertyValue(`--c${Math.max(0, order.indexOf(turn.speaker)) % 8}`) : style.getPropertyValue("--line");
    pen.globalAlpha = i * bar <= at ? 1 : 0.55;
    const tall = Math.max(2 * scale, Math.sqrt(peak) * height * 0.94);
    pen.fillRect(i * bar, (height - tall) / 2, bar - scale, tall);
  }
  pen.globalAlpha = 1;
  pen.fillStyle = style.getPropertyValue("--ink");
  pen.fillRect(Math.min(at, width - 2 * scale), 0, 2 * scale, height);
}

function show() {
  if (until !== null && audio.currentTime >= until) {
    audio.pause();
    until = null;
  }
  const now = data.turns.findIndex((turn) => turn.start <= audio.currentTime && audio.currentTime < turn.end);
  rows.forEach((row, i) => row.classList.toggle("now", i === now));
  $("who").textContent = now < 0 ? "" : data.turns[now].speaker;
  $("who").style.color = now < 0 ? "" : colour(data.turns[now].speaker);
  $("clock").textContent = `${clock(audio.currentTime)} / ${clock(data.total_s)}`;
  const icon = document.createElementNS("http://www.w3.org/2000/svg", "svg"), path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  icon.setAttribute("viewBox", "0 0 18 18");
  path.setAttribute("d", audio.paused ? ICONS.play : ICONS.pause);
  icon.append(path);
  if ($("play").dataset.paused !== String(audio.paused)) $("play").replaceChildren(icon);
  $("play").dataset.paused = String(audio.paused);
  $("play").setAttribute("aria-label", audio.paused ? "Play" : "Pause");
  draw();
  if (!audio.paused) requestAnimationFrame(show);
}
$("play").onclick = () => {
  until = null;
  if (audio.paused) audio.play();
  else audio.pause();
};
$("wave").onclick = (event) => go((event.offsetX / $("wave").clientWidth) * data.total_s, null);
audio.onplay = audio.onpause = audio.onseeked = show;
audio.onerror = () => ($("about").textContent = `${data.name} cannot be played here. ${data.sound}`);
addEventListener("resize", draw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
show();
