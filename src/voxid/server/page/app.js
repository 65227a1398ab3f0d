// The page of voxid: record or choose recordings, ask the service, show what it says.
import { $, clock, make, number, percent, plural, seconds } from "/page/build.js";
import * as live from "/page/live.js";
import { hasMicrophone, openMicrophone, toPcm, toWav } from "/page/recorder.js";

const WORDS = {
  enroll: ["Enroll somebody", "Let them talk for about twenty seconds, in their own words. Do it on several days if you can: voices change.", "Record"],
  verify: ["Is it really them?", "Choose who it is said to be, and record a few seconds. The answer is yes, no, or: say a little more.", "Record"],
  identify: ["Who is it?", "Record a few seconds. You get the nearest people, or: I don't know you.", "Record"],
  live: ["Who is speaking?", "Let people talk, one after the other. Each turn gets a name, at most two seconds after it ends. A person who is not enrolled is “unknown 1”.", "Start"],
  settings: ["Settings", "How this collection decides, whom it must not hear, and what was done in it.", ""],
  people: ["People", "Everybody who is enrolled here: when, and from how much speech. Delete means gone.", ""],
};
const TIPS = {
  probability: "How likely it is the same speaker, if nothing but the prior was known before.",
  llr: "Log-likelihood ratio: how much better 'same speaker' explains the voices than 'two speakers'. 0 says nothing; 7 is a thousand to one.",
  threshold: "The LLR from which the answer is yes. It follows from the prior and costs, or from the false-alarm rate asked for.",
  speech: "Seconds in which somebody really talks, pauses left out. More speech makes surer answers.",
  prior: "What was taken to be the chance of 'same speaker' before anything was heard.",
  enrolled: "How many people were searched. Among more people, each has to stand out more.",
  unknown: "How likely it is that the voice belongs to none of the people enrolled.",
};
let view = "", model = null, mic = null, taken = [], socket = null, began = 0, held = 0, timer = 0, after = null;

// -- asking the service ------------------------------------------------------------------------------------

const collection = () => encodeURIComponent($("collection").value.trim() || "default");
const path = (rest = "") => `/v1/collections/${collection()}${rest}`;
const person = (name, rest = "") => path(`/speakers/${encodeURIComponent(name)}${rest}`);

async function ask(method, url, body) {
  const headers = {}, isJson = body && !(body instanceof FormData);
  const key = sessionStorage.getItem("voxid-key");
  if (key) headers.Authorization = `Bearer ${key}`;
  if (isJson) headers["Content-Type"] = "application/json";
  const answer = await fetch(url, { method, headers, body: isJson ? JSON.stringify(body) : body });
  const said = await answer.json();
  if (answer.status === 401) {
    const given = await question("A key is needed", "Whoever runs this service makes keys with: voxid keys create NAME", "Key", "Use it");
    if (given) {
      sessionStorage.setItem("voxid-key", given.trim());
      return ask(method, url, body);
    }
  }
  if (!answer.ok) throw Object.assign(new Error(said.detail || answer.statusText), { said });
  return said;
}

function formOf(files) {
  const form = new FormData();
  for (const file of files) form.append("file", file, file.name);
  return form;
}

function question(title, text, label, yes) {
  $("ask-title").textContent = title;
  $("ask-text").textContent = text;
  $("ask-field").hidden = !label;
  $("ask-label").textContent = label || "";
  $("ask-input").value = "";
  $("ask-yes").textContent = yes;
  $("ask-yes").className = label ? "" : "final"; // what asks for no word takes something away
  $("ask").returnValue = "no";
  $("ask").showModal();
  return new Promise((done) =>
    $("ask").addEventListener("close", () => done($("ask").returnValue === "yes" && (label ? $("ask-input").value : "yes")), { once: true }),
  );
}

const say = (text) => ($("say").textContent = text);
function fail(error) {
  $("error").textContent = error.message || String(error);
  $("error").hidden = false;
  say("");
}

// -- building what is shown --------------------------------------------------------------------------------

let tips = 0;
function fact(kind, label, value) {
  const tip = make("span", "tip", TIPS[kind]);
  tip.id = `tip-${++tips}`;
  tip.setAttribute("role", "tooltip");
  const button = make("button", "fact", "", make("b", "", value), make("span", "", label), tip);
  button.type = "button";
  button.setAttribute("aria-describedby", tip.id);
  return make("li", "", "", button);
}

function verdict(kind, sign, title, text) {
  const mark = make("span", "sign", sign);
  mark.setAttribute("aria-hidden", "true");
  return make("div", `verdict ${kind}`, "", mark, make("div", "", "", make("h2", "", title), make("p", "", text)));
}

// bars from the lowest to the highest LLR, with the threshold of each marked
function ranks(rows) {
  const values = rows.flatMap((row) => [row.llr, row.threshold]);
  const low = Math.min(-5, ...values) - 1, high = Math.max(5, ...values) + 1;
  const at = (llr) => `${(100 * (llr - low)) / (high - low)}%`;
  const list = make("ol", "ranks");
  for (const row of rows) {
    const fill = make("div", "fill"), mark = make("div", "mark");
    fill.style.width = at(row.llr);
    mark.style.left = at(row.threshold);
    const name = make("span", "name", row.speaker);
    name.title = row.speaker;
    list.append(
      make("li", "rank", "", name, make("div", row.llr >= row.threshold ? "track pass" : "track", "", fill, mark), make("span", "num", number(row.llr, 1))),
    );
  }
  return [list, make("p", "legend", "", make("i"), make("span", "", "the threshold; a bar that reaches it is a yes (LLR)"))];
}

function show(...parts) {
  $("answer").replaceChildren(...parts);
  $("answer").hidden = false;
  $("answer").scrollIntoView({ block: "nearest" });
}

function warnings(list) {
  return list?.length ? [make("ul", "warnings", "", ...list.map((text) => make("li", "", text)))] : [];
}

function showDecision(found, name) {
  const who = `“${name}”`;
  const said = {
    accepted: ["yes", "✓", `Yes, this is ${name}`, "The voice is that of the person enrolled."],
    rejected: ["no", "✕", `This does not sound like ${name}`, "Too unlike the voice that is enrolled."],
    not_enough_speech: ["maybe", "…", "Say a little more", found.reason],
    not_enrolled: ["maybe", "?", `${who} is not enrolled`, "Enroll them first."],
    opted_out: ["maybe", "–", `${who} opted out`, "Their voice is refused, until they opt in again."],
  }[found.decision];
  if (found.llr === null) return show(verdict(...said));
  showAnswer(said, found, [{ speaker: name, llr: found.llr, threshold: found.threshold }], [
    fact("probability", "probability", percent(found.probability)),
    fact("llr", "LLR", number(found.llr)),
    fact("threshold", "threshold", number(found.threshold)),
    fact("speech", "of speech", seconds(found.net_speech_s[1])),
    fact("prior", "prior", percent(found.prior)),
  ]);
}

function showAnswer(said, found, candidates, facts) {
  show(verdict(...said), make("ul", "facts", "", ...facts), ...ranks(candidates), ...warnings(found.warnings));
}

function showIdentity(found) {
  const best = found.speaker;
  const said = {
    accepted: ["yes", "✓", `This is ${best}`, "The nearest of all who are enrolled, and near enough."],
    unknown: ["maybe", "?", "I don’t know you", found.enrolled ? "Nobody who is enrolled sounds enough like this." : "Nobody is enrolled yet."],
    not_enough_speech: ["maybe", "…", "Say a little more", found.reason],
  }[found.decision];
  if (!found.candidates.length) return show(verdict(...said));
  showAnswer(said, found, found.candidates, [
    fact("unknown", "none of them", percent(found.unknown_probability)),
    fact("llr", "LLR of the nearest", number(found.llr)),
    fact("threshold", "threshold", number(found.threshold)),
    fact("speech", "of speech", seconds(found.net_speech_s)),
    fact("enrolled", "people searched", String(found.enrolled)),
  ]);
}

function progress(net, wanted, extra = 0) {
  held = net;
  const bar = $("progress").querySelector(".bar");
  const share = (value) => `${Math.min(100, (100 * value) / wanted)}%`;
  bar.children[0].style.width = share(net);
  bar.children[1].style.width = share(Math.max(0, Math.min(extra, wanted - net)));
  const total = net + extra;
  $("progress-text").textContent = `${number(total, 1)} of ${wanted} s of speech${total >= wanted ? ": enough" : ""}`;
  $("progress").hidden = false;
}

function showEnrollment(found) {
  progress(found.net_speech_s, found.wanted_s);
  const done = found.state === "enrolled";
  const added = found.clips.filter((clip) => clip.voiceprint).length;
  show(
    verdict(
      done ? "yes" : "maybe", done ? "✓" : "…",
      done ? `${found.speaker} is enrolled` : `${found.speaker}: ${seconds(found.missing_s)} of speech still wanted`,
      `${plural(added, "recording")} added, ${found.voiceprints} held. ${done ? "Try Verify or Identify now." : "Record some more; it adds up."}`,
    ),
    ...warnings(found.clips.flatMap((clip) => clip.warnings)),
  );
}

// -- recordings in, answers out ----------------------------------------------------------------------------

async function send(files) {
  $("error").hidden = $("answer").hidden = true;
  const name = $("name").value.trim();
  if (view !== "identify" && !name) {
    $("name").focus();
    return say("Say who it is first: the name is missing.");
  }
  const form = formOf(view === "enroll" ? files : files.slice(0, 1));
  say("Listening to it …");
  try {
    if (view === "enroll") showEnrollment(await ask("POST", person(name, "/recordings"), form));
    else if (view === "verify") showDecision(await ask("POST", person(name, "/verify"), form), name);
    else showIdentity(await ask("POST", path("/identify"), form));
    say("");
    refreshNames();
  } catch (error) {
    if (error.said?.state === "needs_speech") {
      progress(error.said.net_speech_s, error.said.wanted_s);
      show(verdict("maybe", "…", "Say a little more", error.message));
      say("");
    } else fail(error);
  }
}

async function start() {
  $("error").hidden = $("answer").hidden = true;
  if (["enroll", "verify"].includes(view) && !$("name").value.trim()) {
    $("name").focus();
    return say("Say who it is first: the name is missing.");
  }
  taken = [];
  clear();
  live.clear();
  try {
    mic = await openMicrophone(heard);
  } catch (error) {
    return fail(new Error(`The microphone cannot be used (${error.message}). Allow it in the browser, or choose files.`));
  }
  began = performance.now();
  $("record").setAttribute("aria-pressed", "true");
  $("record-text").textContent = "Stop";
  say({ enroll: "Talk, in your own words.", live: "" }[view] ?? "Talk for a few seconds.");
  timer = setInterval(() => ($("clock").textContent = clock((performance.now() - began) / 1000)), 250);
  if (view === "live") live.begin(taken, mic.rate);
  if (view === "live" || view === "enroll") connect(view === "live" ? "timeline" : "none");
}

async function stop() {
  if (!mic) return;
  const { rate } = mic;
  mic.close();
  mic = null;
  clearInterval(timer);
  $("record").setAttribute("aria-pressed", "false");
  $("record-text").textContent = WORDS[view][2];
  $("level").style.width = "0";
  say("");
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "end" }));
  if (view !== "live" && taken.length) await send([toWav(taken, rate)]);
}

function connect(asked) {
  const { rate } = mic;
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path("/live")}`);
  socket.binaryType = "arraybuffer";
  const key = sessionStorage.getItem("voxid-key") || undefined;
  socket.onopen = () => socket.send(JSON.stringify({ type: "start", rate, question: asked, key }));
  socket.onmessage = (event) => {
    const said = JSON.parse(event.data);
    if (said.type === "ready") taken.forEach((block) => socket.send(toPcm(block)));
    if (said.type === "ready") socket.ready = true;
    else if (said.type === "problem" && asked !== "none") fail(new Error(said.detail));
    else if (asked === "none" && said.type === "heard") progress(held, model?.wanted_speech_s || 20, said.net_speech_s);
    else if (asked !== "none") {
      live.said(said);
      if (said.type === "final") stop(); // it was as long as one connection takes
    }
  };
}

// -- drawing -----------------------------------------------------------------------------------------------

let peaks = [];
function heard(block) {
  taken.push(view === "live" ? toPcm(block) : block); // half the memory: a conversation is long
  if (socket?.ready && socket.readyState === WebSocket.OPEN) socket.send(toPcm(block));
  let peak = 0, power = 0;
  for (const value of block) {
    peak = Math.max(peak, Math.abs(value));
    power += value * value;
  }
  const level = 20 * Math.log10(Math.sqrt(power / block.length) + 1e-6);
  $("level").style.width = `${Math.max(0, Math.min(100, (level + 60) * 1.9))}%`;
  $("level").parentElement.classList.toggle("loud", peak > 0.98);
  if (peak > 0.98) say("Too loud: move back a little, or lower the level.");
  peaks.push(peak);
  draw();
}

function clear() {
  peaks = [];
  $("clock").textContent = "0:00";
  draw();
}

function draw() {
  const canvas = $("wave"), pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  const { width, height } = canvas, step = 10, shown = peaks.slice(-Math.floor(width / step));
  pen.clearRect(0, 0, width, height);
  pen.fillStyle = style.getPropertyValue("--line");
  pen.fillRect(0, height / 2 - 1, width, 2);
  pen.fillStyle = style.getPropertyValue("--main");
  shown.forEach((peak, i) => {
    const tall = Math.max(4, Math.sqrt(peak) * height * 0.92);
    pen.beginPath();
    pen.roundRect(i * step + 2, (height - tall) / 2, step - 4, tall, 3);
    pen.fill();
  });
}

// -- people ------------------------------------------------------------------------------------------------

const day = (text) => new Date(text).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

async function refreshNames() {
  try {
    const found = await ask("GET", path("/speakers?limit=100"));
    $("names").replaceChildren(...found.speakers.map((one) => Object.assign(make("option"), { value: one.name })));
    const known = found.speakers.find((one) => one.name === $("name").value.trim());
    if (view === "enroll" && known) progress(known.net_speech_s, known.wanted_s);
    const there = await ask("GET", "/v1/collections");
    $("collections").replaceChildren(...there.collections.map((one) => Object.assign(make("option"), { value: one.name })));
  } catch (error) {
    fail(error);
  }
}

async function listPeople(more = false) {
  const query = new URLSearchParams({ limit: 50 });
  if ($("search").value.trim()) query.set("prefix", $("search").value.trim());
  if (more && after) query.set("after", after);
  try {
    const found = await ask("GET", path(`/speakers?${query}`));
    after = found.next;
    $("count").textContent = `${found.total.toLocaleString()} ${found.total === 1 ? "person is" : "people are"} enrolled`;
    const rows = found.speakers.map(row);
    if (!more) $("people").replaceChildren();
    $("people").append(...rows);
    if (!found.total) $("people").append(make("li", "card empty", "Nobody is enrolled yet. Begin with Enroll."));
    $("more").hidden = !after;
  } catch (error) {
    fail(error);
  }
}

function row(one) {
  const avatar = make("span", "avatar", [...one.name.trim()][0]?.toUpperCase() || "?");
  avatar.setAttribute("aria-hidden", "true");
  const sub = `${seconds(one.net_speech_s)} of speech in ${plural(one.voiceprints, "recording")}, since ${day(one.created)}`;
  const badge = make("span", `badge ${one.state}`, one.state === "enrolled" ? "enrolled" : `${seconds(one.missing_s)} wanted`);
  const summary = make("summary", "", "", avatar, make("span", "", "", make("span", "name", one.name), make("div", "sub", one.damaged || sub)), badge);
  const details = make("details", "", "", summary);
  details.addEventListener("toggle", () => details.open && detail(details, one.name), { once: true });
  return make("li", "card person", "", details);
}

const label = (source) => source.replace(/^recording \d+ \((.*)\)$/, "$1");

async function detail(details, name) {
  const act = (label, className, work) => {
    const button = make("button", className, label);
    button.type = "button";
    button.setAttribute("aria-label", `${label} ${name}`);
    button.addEventListener("click", async () => {
      try {
        if (await work()) listPeople();
      } catch (error) {
        fail(error);
      }
    });
    return button;
  };
  const found = await ask("GET", person(name)).catch(fail);
  if (!found) return;
  const body = make("tbody");
  for (const print of found.recordings || []) {
    const remove = act("Remove", "danger small", async () => {
      if (!(await question("Remove this recording?", `${label(print.source)}. The voiceprint of ${name} goes on without it.`, "", "Remove"))) return false;
      return ask("DELETE", person(name, `/recordings/${encodeURIComponent(print.id)}`));
    });
    body.append(make("tr", "", "", make("td", "", day(print.created)), make("td", "", seconds(print.speech_s)), make("td", "source", label(print.source)), make("td", "", "", remove)));
  }
  const head = make("tr", "", "", ...["When", "Speech", "Recording", "Action"].map((text) => Object.assign(make("th", "", text), { scope: "col" })));
  details.append(
    make("table", "", "", make("thead", "", "", head), body),
    make(
      "div", "buttons", "",
      act("Rename", "quiet small", async () => {
        const given = await question(`Rename ${name}`, "The voiceprint stays.", "New name", "Rename");
        return given && ask("PATCH", person(name), { name: given });
      }),
      act("Opt out", "quiet small", async () => {
        const text = "All that is held is removed, and their voice is refused from now on, until they opt in again.";
        return (await question(`${name} opts out?`, text, "", "Opt out")) && ask("PUT", person(name, "/opt-out"));
      }),
      act("Delete", "danger small", async () => {
        const text = "All that is held is removed: the voiceprint, the notes, the name in the audit trail. There is no way back.";
        return (await question(`Delete ${name}?`, text, "", "Delete")) && ask("DELETE", person(name));
      }),
    ),
  );
}

// -- settings ----------------------------------------------------------------------------------------------

const HINTS = {
  "": "The service decides by its own prior, or as each request asks.",
  far: "The share of strangers who are taken for somebody: 0.01 is one in a hundred. The lower, the more people are missed.",
  prior: "How likely it is beforehand that it is the same speaker: 0.5 at a door that few strangers try, 0.01 on a public line.",
};
const PLACE = "surroundings";
let settings = {}, seen = 0;

async function listSettings() {
  try {
    const there = await ask("GET", path()).catch((error) => {
      if (error.said?.code === "CollectionNotFound") return { settings: {} }; // made when it is saved
      throw error;
    });
    settings = there.settings;
    $("by").value = "far" in settings ? "far" : "prior" in settings ? "prior" : "";
    $("by-value").value = settings[$("by").value] ?? "";
    $("wanted").value = settings.wanted_speech_s ?? "";
    hint();
    $("place").textContent = settings[PLACE]
      ? `Decisions weigh ${settings[PLACE].joined} voices heard here. Choose recordings to begin anew.`
      : "Recordings of 30 other people or more, made as those here are, without names, make decisions fit your telephones, rooms and languages.";
    $("forget").hidden = !settings[PLACE];
    const { opt_outs } = await ask("GET", path("/opt-outs"));
    $("outs").replaceChildren(...(opt_outs.length ? opt_outs.map(optedOut) : [make("li", "hint", "Nobody.")]));
    seen = 0;
    await listTrail();
  } catch (error) {
    fail(error);
  }
}

function optedOut(one) {
  const back = make("button", "quiet small", "Opt in again");
  back.type = "button";
  back.setAttribute("aria-label", `${one.name} may be enrolled again`);
  back.addEventListener("click", () => ask("DELETE", person(one.name, "/opt-out")).then(listSettings, fail));
  return make("li", "", "", make("span", "name", one.name), make("span", "sub", `since ${day(one.since)}`), back);
}

async function listTrail(more = false) {
  const { lines } = await ask("GET", path(`/audit?limit=50&after=${seen}`));
  const rows = lines.map((line) =>
    make("tr", "", "", make("td", "", day(line.time)), make("td", "", line.action), make("td", "source", line.name), make("td", "", (line.detail.by || "").replace(/ \(.*/, ""))),
  );
  if (more) $("trail").append(...rows);
  else $("trail").replaceChildren(...rows);
  seen = lines.at(-1)?.sequence ?? seen;
  $("later").hidden = lines.length < 50;
}

const hint = () => (($("by-hint").textContent = HINTS[$("by").value]), ($("by-value").disabled = !$("by").value));

async function saveRule(event) {
  event.preventDefault();
  const { far, prior, wanted_speech_s, [PLACE]: _, ...kept } = settings;
  if ($("by").value) kept[$("by").value] = Number($("by-value").value);
  if ($("wanted").value) kept.wanted_speech_s = Number($("wanted").value);
  await ask("PUT", path(), kept).then(listSettings, fail);
}

async function learnPlace(event) {
  const form = formOf(event.target.files);
  event.target.value = "";
  $("place").textContent = "Listening to them …";
  await ask("PUT", path("/surroundings"), form).catch(fail);
  await listSettings();
}

// -- which view --------------------------------------------------------------------------------------------

function route() {
  const wanted = location.hash.slice(1) in WORDS ? location.hash.slice(1) : "enroll";
  if (mic) {
    view = "live"; // what was recorded for another view is not sent
    stop();
  }
  view = wanted;
  for (const link of document.querySelectorAll("nav a")) {
    link.removeAttribute("aria-current");
    if (link.hash !== `#${view}`) continue;
    link.setAttribute("aria-current", "page");
    link.scrollIntoView({ block: "nearest", inline: "nearest" }); // where they do not fit side by side
  }
  const [title, lead, word] = WORDS[view];
  $("title").textContent = title;
  $("lead").textContent = lead;
  document.title = `${title} – voxid`;
  $("record-text").textContent = word;
  $("who").hidden = !["enroll", "verify"].includes(view);
  $("name-label").textContent = view === "verify" ? "Who it is said to be" : "Name";
  $("stage").hidden = ["people", "settings"].includes(view);
  $("drop").hidden = view === "live";
  $("live").hidden = view !== "live";
  $("list").hidden = view !== "people";
  $("settings").hidden = view !== "settings";
  $("answer").hidden = $("error").hidden = $("progress").hidden = true;
  $("record").disabled = !hasMicrophone();
  $("insecure").hidden = hasMicrophone() || $("stage").hidden;
  held = 0;
  say("");
  clear();
  live.clear();
  if (view === "people") listPeople();
  else if (view === "settings") listSettings();
  else refreshNames();
}

$("record").addEventListener("click", () => (mic ? stop() : start()));
$("files").addEventListener("change", (event) => {
  const files = [...event.target.files];
  event.target.value = "";
  if (files.length) send(files);
});
const stage = $("stage");
stage.addEventListener("dragover", (event) => (event.preventDefault(), stage.classList.add("over")));
stage.addEventListener("dragleave", () => stage.classList.remove("over"));
stage.addEventListener("drop", (event) => {
  event.preventDefault();
  stage.classList.remove("over");
  if (event.dataTransfer.files.length && view !== "live") send([...event.dataTransfer.files]);
});
$("name").addEventListener("change", () => (($("progress").hidden = true), (held = 0), refreshNames()));
$("collection").addEventListener("change", route);
$("search").addEventListener("input", () => listPeople());
$("more").addEventListener("click", () => listPeople(true));
$("rule").addEventListener("submit", saveRule);
$("by").addEventListener("change", hint);
$("strangers").addEventListener("change", learnPlace);
$("forget").addEventListener("click", () => ask("DELETE", path("/surroundings")).then(listSettings, fail));
$("later").addEventListener("click", () => listTrail(true).catch(fail));
live.onEnroll((name, files) => ask("POST", person(name, "/recordings"), formOf(files)));
window.addEventListener("hashchange", route);
ask("GET", "/v1/model")
  .then((found) => {
    model = found;
    $("about").textContent = `voxid ${found.version}, model ${found.name} ${found.fingerprint.slice(0, 8)}`;
  })
  .catch(fail)
  .finally(route);
