// The page: a microphone or a file in, text with its words, times and names out.
import { FORMATS } from "./formats.js";
import { Player } from "./player.js";
import { LiveSession } from "./session.js";
import { Sound, decode, secondsOf } from "./sound.js";
import { Text } from "./text.js";
import { TEXTS } from "./texts.js";
import { Upload } from "./upload.js";
import { clock, drawWave, viewOf } from "./wave.js";

const $ = (id) => document.getElementById(id);
// Longer files are played as they are, and have no waveform: their samples would take gigabytes.
const LONGEST_DECODED_S = 3600;
// How far an arrow key moves the playhead.
const STEP_S = 5;

// What the page does: idle, starting, live, finishing (stopped, the last text is to come) or reading (a file).
let mode = "idle";
let live = null;
let upload = null;
// Of a file that was canceled or is being replaced, nothing is taken any more.
let reading = 0;
const sound = new Sound();
const player = new Player({ moved: movePlayhead, failed: () => status("not-played") });
const text = new Text($("text"), $("said"), {
  play: (time) => player.play(time),
  changed: () => {
    showEmpty();
    $("downloads").hidden = $("actions").hidden = !text.done.length;
  },
});

// --- Language ---------------------------------------------------------------

let language = navigator.language?.startsWith("zh") ? "zh" : "en";
// What was said last, to be said again in the other language: a key of the texts and what belongs into it.
const notes = { status: null, delay: null, progress: null };

const say = (key, ...values) =>
  TEXTS[language][key].replace(/\{(\d)\}/g, (_, i) => (Array.isArray(values[i]) ? say(...values[i]) : values[i]));

function translate() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const element of document.querySelectorAll("[data-text]")) element.textContent = say(element.dataset.text);
  for (const element of document.querySelectorAll("[data-label]")) element.ariaLabel = say(element.dataset.label);
  $("language").textContent = say("other");
  $("language").lang = language === "en" ? "zh" : "en";
  $("copy").textContent = say("copy");
  if ($("list").options.length) $("list").options[0].text = say("none");
  for (const id of Object.keys(notes)) note(id, ...(notes[id] ?? []));
  showMode();
  movePlayhead();
}

function note(id, ...what) {
  notes[id] = what.length ? what : null;
  $(id === "progress" ? "progress-text" : id).textContent = what.length ? say(...what) : "";
}

$("language").addEventListener("click", () => {
  language = language === "en" ? "zh" : "en";
  translate();
});

function status(...what) {
  note("status", ...what);
  $("status").classList.remove("wrong");
}

function wrong(...what) {
  note("status", ...what);
  $("status").classList.add("wrong");
}

// What went wrong, in the page's language: a key and its values.
function reason(error) {
  const known = error.code && error.code in TEXTS.en;
  if (/not audio|cut short/.test(error.message)) return ["unreadable"];
  if (error.code === "file_too_large") return ["file_too_large", error.message.match(/(\d+) MiB/)?.[1] ?? "?"];
  // The file's name stands before it already.
  return known ? [error.code] : ["refused", error.message.replace(/^\d+ bytes of audio: /, "")];
}

// --- What the page does -------------------------------------------------------

function become(next) {
  mode = next;
  showMode();
}

function showEmpty() {
  $("empty").hidden = mode !== "idle" || text.segments.length > 0;
}

function showMode() {
  const microphone = $("microphone");
  const listening = mode === "live" || mode === "starting";
  microphone.ariaPressed = String(listening);
  microphone.disabled = mode === "finishing" || mode === "reading";
  microphone.classList.toggle("finishing", mode === "finishing");
  $("microphone-text").textContent = say(listening ? "stop" : mode === "finishing" ? "finishing" : "speak");
  $("turn").hidden = mode !== "live" || !$("manual").checked;
  $("cancel").hidden = mode !== "finishing" && mode !== "reading";
  $("file").disabled = $("clear").disabled = mode !== "idle";
  $("open").classList.toggle("disabled", mode !== "idle");
  if (mode !== "reading") {
    $("progress").hidden = true;
    note("progress");
  }
  showEmpty();
}

$("cancel").addEventListener("click", () => (mode === "reading" ? upload?.cancel() : live?.cancel()));

function clear() {
  player.unload();
  sound.clear();
  text.clear();
  note("delay");
  draw();
  movePlayhead();
}

$("clear").addEventListener("click", () => {
  clear();
  status();
});

// --- Sound ------------------------------------------------------------------

function draw() {
  $("player").hidden = !sound.seconds;
  if (sound.seconds) drawWave($("wave"), sound, mode === "live");
}

function movePlayhead() {
  const { ready, time } = player;
  const whole = sound.seconds;
  const track = $("track");
  const { start, perSecond } = viewOf(track.clientWidth, whole, false);
  $("playhead").hidden = !ready;
  $("playhead").style.transform = `translateX(${(time - start) * perSecond}px)`;
  $("time").textContent = clock(ready ? time : whole);
  $("play").disabled = !ready;
  $("play").ariaPressed = String(player.playing);
  $("play").ariaLabel = say(player.playing ? "pause" : "play");
  track.ariaValueMax = whole.toFixed(1);
  track.ariaValueNow = time.toFixed(1);
  track.ariaValueText = say("position", clock(time), clock(whole));
  text.follow(ready && (player.playing || time > 0) && !player.audio.ended ? time : null);
}

$("play").addEventListener("click", () => player.toggle());
$("track").addEventListener("click", (event) => {
  const box = $("track").getBoundingClientRect();
  player.seek((event.clientX - box.left) / viewOf(box.width, sound.seconds, false).perSecond);
});
$("track").addEventListener("keydown", (event) => {
  const places = {
    ArrowLeft: () => player.time - STEP_S,
    ArrowRight: () => player.time + STEP_S,
    Home: () => 0,
    End: () => sound.seconds,
  };
  if (event.key in places) player.seek(Math.min(sound.seconds, places[event.key]()));
  else if (event.key === "Enter" || event.key === " ") player.toggle();
  else return;
  event.preventDefault();
});

function heard() {
  if (sound.length) player.load(sound.wav());
  draw();
  movePlayhead();
}

// --- Live -------------------------------------------------------------------

const names = () => $("names").value.split("\n").map((name) => name.trim()).filter(Boolean);
const listName = () => $("list").value || null;

function settings() {
  return { keywords: names(), hotwords: listName(), manual: $("manual").checked, key: $("key").value };
}

async function start() {
  let before = 0;
  let ended = null;
  const place = (id, time) => text.segment(id, time + before);
  become("starting");
  status("starting");
  live = new LiveSession(settings(), {
    // What was said goes on from what was said before; a file is something else.
    begun(rate) {
      if (sound.rate !== rate || sound.fromFile) clear();
      sound.fromFile = false;
      player.unload();
      before = sound.seconds;
      if (mode !== "starting") return;
      become("live");
      status("listening");
    },
    block(block, rate) {
      sound.keep(block, rate);
      draw();
      $("time").textContent = clock(sound.seconds);
    },
    started(id, start) {
      text.show(place(id, start));
    },
    hypothesis(id, stable, volatile, end) {
      const segment = place(id, end);
      Object.assign(segment, { stable, volatile });
      text.show(segment);
      note("delay", "delay", Math.max(0, sound.seconds - before - end).toFixed(1));
    },
    speech(start, end) {
      sound.speech.push([start + before, end + before]);
      draw();
    },
    words(id, words) {
      const moved = words.map((word) => ({ ...word, start: word.start + before, end: word.end + before }));
      place(id, words[0].start).words.push(...moved);
    },
    names(id, places, hits) {
      const segment = place(id, 0);
      segment.named.push(...places);
      segment.hits.push(...hits.map((hit) => ({ ...hit, start: hit.start + before, end: hit.end + before })));
    },
    completed(id, said, error) {
      const segment = place(id, sound.seconds - before);
      segment.end = segment.words.at(-1)?.end ?? segment.start;
      Object.assign(segment, { text: said, failed: error && say(...reason(error)), done: true });
      text.show(segment);
    },
    error(error) {
      ended = reason(error);
      wrong(...ended);
    },
    stopping() {
      become("finishing");
      status("waiting-last");
      heard();
    },
    closed() {
      const { complete, canceled } = live;
      live = null;
      if (mode === "starting") return become("idle");
      text.settle();
      become("idle");
      heard();
      note("delay");
      if (canceled) status("canceled");
      else if (!complete) wrong(...(ended ?? ["lost"]));
      else if (!ended) status("ended", (sound.seconds - before).toFixed(1));
    },
  });
  const session = live;
  try {
    await session.start($("clean").checked);
  } catch (error) {
    if (session.canceled) return;
    session.cancel();
    become("idle");
    if (error.code === "unreachable") wrong(...(await whyNot()));
    else wrong(...(error.name in TEXTS.en ? [error.name] : ["microphone", error.message]));
  }
}

// A browser does not tell why a socket was refused; the server's own routes do.
async function whyNot() {
  try {
    const models = await fetch("/v1/models", { headers: authorization() });
    if (!models.ok) return reason({ ...(await models.json()).error });
    const ready = await fetch("/ready");
    return ready.ok ? ["unreachable"] : ["server_busy"];
  } catch {
    return ["unreachable"];
  }
}

$("microphone").addEventListener("click", () => {
  if (mode === "idle") start();
  else if (mode === "live") live.stop();
  else if (mode === "starting") {
    live.cancel();
    status();
  }
});
$("turn").addEventListener("click", () => live?.commit());
for (const id of ["names", "list", "manual"]) {
  $(id).addEventListener("change", () => {
    live?.update(settings());
    showMode();
  });
}
document.addEventListener("keydown", (event) => {
  const typing = /^(input|textarea|select|button|summary)$/i.test(event.target.tagName);
  if (event.code === "Space" && mode === "live" && $("manual").checked && !typing) {
    event.preventDefault();
    live.commit();
  }
});

// --- Files ------------------------------------------------------------------

async function read(file) {
  const turn = ++reading;
  const wanted = () => turn === reading;
  clear();
  sound.fromFile = true;
  become("reading");
  status("uploading", file.name);
  progress(0, "percent", 0);
  const began = performance.now();
  let end = null;
  upload = new Upload(formOf(file), authorization(), {
    sent(share) {
      progress(share, "percent", Math.floor(share * 100));
      if (share === 1) {
        status("reading", file.name);
        progress(null);
      }
    },
    row(row) {
      if (row.type === "nim4.segment") add(row);
      if (row.type === "nim4.transcript") end = row;
    },
  });
  // The browser need not know every format that the server reads; then there is nothing to see or to play.
  const seen = look(file, wanted).catch(() => heard());
  try {
    await upload.done;
    await seen;
    sound.told = Math.max(sound.told, end.duration);
    const taken = ((performance.now() - began) / 1000).toFixed(1);
    if (!text.done.length) status("nothing", file.name);
    else if (end.truncated) status("short", file.name);
    else status("done", file.name, end.duration.toFixed(1), taken);
  } catch (error) {
    if (error.code === "canceled") status("canceled");
    else wrong("ofFile", file.name, reason(error));
  }
  reading++;
  upload = null;
  become("idle");
  draw();
  movePlayhead();
}

function formOf(file) {
  const form = new FormData();
  form.append("model", $("model").textContent);
  form.append("stream", "true");
  form.append("include[]", "nim4.segment");
  for (const name of names()) form.append("keywords[]", name);
  if (listName()) form.append("hotwords", listName());
  form.append("file", file);
  return form;
}

function add({ segment: one, words }) {
  const segment = text.segment(`file-${one.id}`, one.start);
  segment.words = words.map((word) => ({ text: word.word, start: word.start, end: word.end }));
  Object.assign(segment, { end: one.end, text: one.text, named: one.names_at ?? [], hits: one.hits ?? [], done: true });
  sound.speech.push([one.start, one.end]);
  reached();
  text.show(segment);
  draw();
}

// How far a file has been read: text may come before its length is known.
function reached() {
  const end = sound.speech.at(-1)?.[1];
  if (end === undefined) return;
  if (sound.told) progress(end / sound.told, "upTo", clock(end), clock(sound.told));
  else progress(null, "upToHere", clock(end));
}

// `share` of the work that is done; null if nobody knows.
function progress(share, ...what) {
  if (mode !== "reading") return;
  const bar = $("progress").querySelector("progress");
  $("progress").hidden = false;
  if (share === null) bar.removeAttribute("value");
  else bar.value = Math.min(1, share);
  note("progress", ...what);
}

async function look(file, wanted) {
  const seconds = await secondsOf(file);
  if (!wanted()) return;
  sound.told = seconds;
  reached();
  draw();
  if (seconds > LONGEST_DECODED_S) {
    player.load(file);
  } else {
    await decode(file, sound, wanted);
    if (wanted()) heard();
  }
  movePlayhead();
}

function open(file) {
  if (!file) return;
  if (mode !== "idle") wrong("busy-here", file.name);
  else read(file);
}

$("file").addEventListener("change", (event) => {
  open(event.target.files[0]);
  event.target.value = "";
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
addEventListener("dragleave", (event) => event.relatedTarget === null && $("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  open(event.dataTransfer.files[0]);
});

// --- Copies and downloads -----------------------------------------------------

$("copy").addEventListener("click", async () => {
  const button = $("copy");
  try {
    await toClipboard(FORMATS.txt(text.done));
    button.textContent = say("copied");
    setTimeout(() => (button.textContent = say("copy")), 2000);
  } catch {
    wrong("not-copied");
  }
});

async function toClipboard(words) {
  if (navigator.clipboard) return navigator.clipboard.writeText(words);
  // Over plain http from another machine there is no clipboard but this old way.
  const area = Object.assign(document.createElement("textarea"), { value: words });
  document.body.append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  if (!copied) throw new Error("refused");
}

$("downloads").addEventListener("click", async ({ target }) => {
  const format = target.dataset.format;
  if (!format) return;
  let words;
  try {
    words = await FORMATS[format](text.done, authorization());
  } catch (error) {
    return wrong(...reason(error));
  }
  const url = URL.createObjectURL(new Blob([words], { type: "text/plain;charset=utf-8" }));
  Object.assign(document.createElement("a"), { href: url, download: `nim4asr.${format}` }).click();
  URL.revokeObjectURL(url);
});

// --- What the server has --------------------------------------------------------

const authorization = () => ($("key").value ? { authorization: `Bearer ${$("key").value}` } : {});

async function greet() {
  const models = await (await fetch("/v1/models", { headers: authorization() })).json();
  $("model").textContent = models.data?.[0]?.id ?? "";
  if (!models.data) {
    $("settings").open ||= models.error.code === "invalid_api_key";
    return wrong(...reason(models.error));
  }
  const lists = await (await fetch("/v1/hotwords", { headers: authorization() })).json();
  const options = [new Option(say("none"), ""), ...lists.data.map((one) => new Option(`${one.id} (${one.names})`, one.id))];
  $("list").replaceChildren(...options);
  $("list").hidden = $("list-label").hidden = !lists.data.length;
  status();
}

const meet = () => greet().catch(() => wrong("unreachable"));
$("key").addEventListener("change", meet);
addEventListener("resize", () => {
  draw();
  movePlayhead();
});
translate();
meet();
