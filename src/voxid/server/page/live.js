// Who speaks when: turns as they settle, and when it ends the timeline of the whole, to listen to and to name.
import { $, clock, make, number, percent, plural, seconds } from "/page/build.js";
import { cut, toWav } from "/page/recorder.js";

const SHOWN_S = 90; // of what is going on; of the whole, all
const STEPS_S = [2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
const CLIP_SPEECH_S = 1, MOST_CLIPS = 10; // to enroll with: long turns that are sure, as Timeline.clips has it
const NAMELESS = /^(unknown|speaker)( \d+)?$/;

let talk = null; // of this conversation: the sound, the turns, the open one, the whole
let enroll = null, sound = null, playing = null;

export const onEnroll = (work) => (enroll = work);

export function begin(blocks, rate) {
  talk = { blocks, rate, turns: [], open: null, whole: null, at: 0, colours: new Map(), names: new Map() };
  draw();
}

export function clear() {
  silence();
  talk = null;
  draw();
}

export function said(message) {
  if (!talk) return; // another view
  if (message.type === "turn") talk.turns.push(message);
  else if (message.type === "heard") {
    talk.at = message.at_s;
    talk.open = message.turn ? { ...message, end: message.at_s } : null;
    $("live-facts").textContent = `${seconds(message.net_speech_s)} of speech in ${clock(message.at_s)}`;
  } else if (message.type === "final") {
    talk.whole = message;
    talk.open = null;
    const net_s = message.speakers.reduce((sum, one) => sum + one.speech_s, 0);
    $("live-facts").textContent = `${seconds(net_s)} of speech in ${clock(message.total_s ?? talk.at)}`;
  }
  draw();
}

// -- what is shown -----------------------------------------------------------------------------------------

const called = (turn) => talk.names.get(turn.speaker) ?? turn.speaker;
const turns = () => talk.whole?.turns ?? talk.turns;

function coloured(node, who) {
  if (!talk.colours.has(who)) talk.colours.set(who, talk.colours.size % 8);
  node.classList.add(`c${talk.colours.get(who)}`);
  return node;
}

function draw() {
  const some = talk ? turns() : [];
  drawNow(some);
  drawLanes(some);
  $("talk").hidden = !some.length;
  const rows = some.map(row);
  $("talk-title").textContent = talk?.whole ? "Turns" : "Turns, the newest first";
  $("turns").replaceChildren(...(talk?.whole ? rows : rows.reverse()));
  $("whole").hidden = !talk?.whole?.speakers.length;
  $("speakers").replaceChildren(...(talk?.whole?.speakers ?? []).map(card));
  $("remark").replaceChildren(...(talk?.whole ? remarks(talk.whole) : []));
  if (!talk) $("live-facts").textContent = "";
}

function drawNow(some) {
  const open = talk?.open;
  let text = "Nobody has spoken yet.", note = "";
  if (talk?.whole) {
    text = some.length ? "That was it." : "Nobody has spoken.";
    note = some.length ? `${plural(talk.whole.speakers.length, "speaker")}, ${plural(some.length, "turn")}` : "";
  } else if (open) {
    text = open.speaker;
    note = open.doubtful ? "is talking, perhaps" : "is talking";
  } else if (some.length) text = "A pause.";
  if ($("now-name").textContent !== text) $("now-name").textContent = text; // read aloud once
  $("now-note").textContent = note;
  $("now").className = "now";
  if (open) coloured($("now"), open.speaker);
}

function drawLanes(some) {
  const all = talk?.open ? [...some, talk.open] : some;
  const to = Math.max(10, talk?.at ?? 0), from = talk?.whole ? 0 : Math.max(0, to - SHOWN_S);
  const across = (at) => `${(100 * (Math.max(at, from) - from)) / (to - from)}%`;
  const lanes = [...new Set(all.map(called))].map((who) => {
    const mine = all.filter((turn) => called(turn) === who), strip = make("div", "strip");
    for (const turn of mine.filter((one) => one.end > from)) {
      const bar = make("div", `turn${turn.doubtful ? " doubtful" : ""}${turn === talk.open ? " open" : ""}`);
      bar.style.left = across(turn.start);
      bar.style.width = `calc(${across(turn.end)} - ${across(turn.start)})`;
      bar.title = `${clock(turn.start)} to ${clock(turn.end)}${turn.doubtful ? ", doubtful" : ""}`;
      strip.append(bar);
    }
    strip.setAttribute("role", "img");
    const spoke = mine.reduce((sum, turn) => sum + turn.end - turn.start, 0);
    strip.setAttribute("aria-label", `${who}: ${plural(mine.length, "turn")}, ${seconds(spoke)}`);
    const name = make("span", "name", who);
    name.title = who;
    return coloured(make("div", NAMELESS.test(who) ? "lane nameless" : "lane", "", name, strip), who);
  });
  if (lanes.length) lanes.push(axis(from, to, across));
  $("lanes").replaceChildren(...lanes);
}

function axis(from, to, across) {
  const step = STEPS_S.find((one) => (to - from) / one <= 5) ?? STEPS_S.at(-1), ticks = make("div", "ticks");
  for (let at = Math.ceil(from / step) * step; at <= to - step / 4; at += step) {
    const tick = make("span", "", clock(at));
    tick.style.left = across(at);
    ticks.append(tick);
  }
  const line = make("div", "axis", "", ticks);
  line.setAttribute("aria-hidden", "true");
  return line;
}

function row(turn) {
  const who = called(turn), sure = turn.llr === null ? "" : `LLR ${number(turn.llr, 1)}`;
  const note = turn.doubtful ? make("span", "doubt", "doubtful") : make("span", "", sure);
  const when = make("time", "", `${clock(turn.start)} – ${clock(turn.end)}`);
  const parts = [when, make("b", "", who), note];
  if (!talk.whole) return coloured(make("li", "row", "", ...parts), who);
  const button = make("button", "row", "", ...parts);
  button.type = "button";
  button.setAttribute("aria-pressed", "false");
  button.setAttribute("aria-label", `Play ${clock(turn.start)} to ${clock(turn.end)}, ${who}${turn.doubtful ? ", doubtful" : ""}`);
  button.addEventListener("click", () => play(turn, button));
  return coloured(make("li", "", "", button), who);
}

function card(one) {
  const who = called(one), spoke = `${seconds(one.speech_s)} of speech in ${plural(one.turns, "turn")}`;
  const box = coloured(make("li", "speaker", "", make("h3", "", who), make("p", "soft", spoke)), who);
  if (who !== one.speaker) box.append(make("p", "", `enrolled from what was ${one.speaker} here`));
  else if (one.llr !== null) {
    const sure = `LLR ${number(one.llr, 1)}, ${one.known ? "needed" : "a name needs"} ${number(one.threshold, 1)}`;
    box.append(make("p", "", one.known ? `${percent(one.probability)} sure (${sure})` : `nearest: ${one.nearest} (${sure})`));
  }
  const clips = clipsOf(one.speaker);
  if (!one.known && who === one.speaker && /\d$/.test(who) && clips.length) box.append(form(one.speaker, clips));
  return box;
}

function remarks({ changes, warnings }) {
  const parts = [];
  if (changes.length) {
    const lines = changes.map((one) => `${clock(one.start)} – ${clock(one.end)}: first ${one.told ?? "nobody"}, in the end ${one.speaker ?? "nobody"}`);
    const differs_s = changes.reduce((sum, one) => sum + one.end - one.start, 0);
    const summary = make("summary", "", `For ${seconds(differs_s)} something else was shown while you talked`);
    parts.push(make("details", "changes", "", summary, make("ul", "", "", ...lines.map((line) => make("li", "", line)))));
  } else if (talk.whole.turns.length) parts.push(make("p", "hint", "All of it is as it was shown while you talked."));
  if (warnings.length) parts.push(make("ul", "warnings", "", ...warnings.map((text) => make("li", "", text))));
  return parts;
}

// -- listening to a turn, and saying who it was ------------------------------------------------------------

function silence() {
  playing?.source.stop();
  playing?.button.setAttribute("aria-pressed", "false");
  playing = null;
}

function play(turn, button) {
  const again = playing?.button === button;
  silence();
  if (again) return;
  const blocks = cut(talk.blocks, talk.rate, turn.start, turn.end);
  sound ??= new AudioContext();
  const length = blocks.reduce((sum, block) => sum + block.length, 0), source = sound.createBufferSource();
  source.buffer = sound.createBuffer(1, Math.max(1, length), talk.rate);
  let at = 0;
  for (const block of blocks) {
    source.buffer.copyToChannel(Float32Array.from(block, (value) => value / 32768), 0, at);
    at += block.length;
  }
  source.connect(sound.destination);
  source.onended = () => playing?.source === source && silence();
  source.start();
  button.setAttribute("aria-pressed", "true");
  playing = { source, button };
}

function clipsOf(speaker) {
  const sure = talk.whole.turns.filter((turn) => turn.speaker === speaker && turn.speech_s >= CLIP_SPEECH_S && !turn.doubtful);
  return sure.sort((a, b) => b.speech_s - a.speech_s).slice(0, MOST_CLIPS);
}

function form(speaker, clips) {
  const input = make("input"), problem = make("p", "problem");
  input.autocomplete = "off";
  input.maxLength = 1000;
  problem.setAttribute("role", "alert");
  const fields = make("div", "naming", "", input, make("button", "small", "Enroll"));
  const made = make("form", "", "", make("label", "", `Who is ${speaker}?`, fields), problem);
  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = input.value.trim();
    if (!name) return input.focus();
    const files = clips.map((turn) => toWav(cut(talk.blocks, talk.rate, turn.start, turn.end), talk.rate));
    const mine = talk;
    made.querySelector("button").disabled = true;
    try {
      await enroll(name, files);
      mine.names.set(speaker, name);
      mine.colours.set(name, mine.colours.get(speaker));
      if (mine === talk) draw();
    } catch (error) {
      problem.textContent = error.message;
      made.querySelector("button").disabled = false;
    }
  });
  return made;
}
