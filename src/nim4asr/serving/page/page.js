// The page: a microphone or a file in, text with its words, times and names out.
import { TEXTS } from "./texts.js";
import { LiveSession } from "./session.js";
import { drawWave } from "./wave.js";
import { FORMATS } from "./formats.js";

const $ = (id) => document.getElementById(id);
let language = navigator.language?.startsWith("zh") ? "zh" : "en";
const say = (key, ...values) => TEXTS[language][key].replace(/\{(\d)\}/g, (_, i) => values[i]);

// What is on the page: segments in order, and the sound that they are of.
const sound = { rate: 16000, blocks: [], length: 0, peaks: [], speech: [] };
let segments = [];
let live = null;
let playing = null;

// --- Language ---------------------------------------------------------------

function translate() {
  document.documentElement.lang = language;
  for (const element of document.querySelectorAll("[data-text]")) {
    const key = element.dataset.text === "speak" && live ? "stop" : element.dataset.text;
    element.textContent = say(key);
  }
  $("wave").setAttribute("aria-label", say("waveform"));
  $("language").textContent = say("other");
  $("language").lang = language === "en" ? "zh" : "en";
}

$("language").addEventListener("click", () => {
  language = language === "en" ? "zh" : "en";
  translate();
});

// --- Text -------------------------------------------------------------------

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

function segmentOf(id, start) {
  let segment = segments.find((one) => one.id === id);
  if (!segment) {
    segment = { id, start, end: start, text: "", stable: "", volatile: "", words: [], named: [], done: false };
    segment.paragraph = document.createElement("p");
    $("text").append(segment.paragraph);
    segments.push(segment);
  }
  return segment;
}

function show(segment) {
  const time = document.createElement("time");
  time.textContent = clock(segment.start);
  const line = document.createElement("span");
  if (!segment.done) {
    const volatile = document.createElement("span");
    volatile.className = "volatile";
    volatile.textContent = segment.volatile;
    line.append(segment.stable, volatile);
  } else if (segment.failed) {
    line.className = "failed";
    line.textContent = segment.failed;
  } else {
    line.append(...wordsOf(segment));
  }
  segment.paragraph.replaceChildren(time, line);
  segment.paragraph.hidden = segment.done && !segment.text && !segment.failed;
  const box = $("text");
  box.scrollTop = box.scrollHeight;
  $("empty").hidden = segments.length > 0;
  $("downloads").hidden = !segments.some((one) => one.done && one.text);
}

// The text with each word a button that plays it. What stands between words stays plain.
function wordsOf(segment) {
  const nodes = [];
  const named = placesIn(segment.text, segment.named);
  let at = 0;
  for (const word of segment.words) {
    const place = segment.text.indexOf(word.text, at);
    if (place < 0) continue;
    nodes.push(segment.text.slice(at, place));
    at = place + word.text.length;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "word";
    button.textContent = word.text;
    button.title = `${word.start.toFixed(2)} – ${word.end.toFixed(2)} s`;
    button.classList.toggle("hit", named.some(([from, to]) => from < at && place < to));
    button.addEventListener("click", () => play(word.start, word.end, button));
    nodes.push(button);
  }
  nodes.push(segment.text.slice(at));
  return nodes;
}

// The server tells where names stand, in characters; a string of JavaScript counts some of them twice.
function placesIn(text, places) {
  const characters = [...text];
  const before = (count) => characters.slice(0, count).join("").length;
  return places.map(([from, to]) => [before(from), before(to)]);
}

function clear() {
  segments = [];
  Object.assign(sound, { blocks: [], length: 0, peaks: [], speech: [] });
  $("text").replaceChildren();
  $("empty").hidden = false;
  $("downloads").hidden = true;
  $("delay").textContent = "";
  status("");
  drawWave($("wave"), sound);
}

function status(text, wrong = false) {
  $("status").textContent = text;
  $("status").classList.toggle("wrong", wrong);
}

// --- Sound ------------------------------------------------------------------

// At most so many seconds are kept for listening again: half an hour at 48 kHz is 170 MB.
const KEPT_S = 1800;

function keep(block, rate) {
  sound.rate = rate;
  let peak = 0;
  for (const sample of block) peak = Math.max(peak, Math.abs(sample));
  sound.peaks.push(peak / 32768);
  sound.length += block.length;
  if (sound.length / rate <= KEPT_S) sound.blocks.push(block);
}

async function play(start, end, button) {
  playing?.stop();
  const from = Math.max(0, Math.floor((start - 0.05) * sound.rate));
  const samples = new Float32Array(Math.max(1, Math.ceil((end + 0.05) * sound.rate) - from));
  let place = 0;
  for (const block of sound.blocks) {
    const begin = Math.max(from, place);
    const stop = Math.min(from + samples.length, place + block.length);
    for (let i = begin; i < stop; i++) samples[i - from] = block[i - place] / 32768;
    place += block.length;
    if (place > from + samples.length) break;
  }
  const context = new AudioContext();
  const buffer = context.createBuffer(1, samples.length, sound.rate);
  buffer.copyToChannel(samples, 0);
  const source = context.createBufferSource();
  source.buffer = buffer;
  source.connect(context.destination);
  button.classList.add("playing");
  source.onended = () => {
    button.classList.remove("playing");
    context.close();
  };
  source.start();
  playing = { stop: () => source.stop() };
}

// --- Live -------------------------------------------------------------------

const names = () => $("names").value.split("\n").map((name) => name.trim()).filter(Boolean);
const listName = () => $("list").value || null;

function settings() {
  return { keywords: names(), hotwords: listName(), manual: $("manual").checked, key: $("key").value };
}

async function start() {
  clear();
  live = new LiveSession(settings(), {
    block(block, rate) {
      keep(block, rate);
      drawWave($("wave"), sound);
    },
    started(id, start) {
      show(segmentOf(id, start));
    },
    hypothesis(id, stable, volatile, end) {
      const segment = segmentOf(id, end);
      Object.assign(segment, { stable, volatile });
      show(segment);
      $("delay").textContent = say("delay", Math.max(0, Math.round((sound.length / sound.rate - end) * 1000)));
    },
    speech(id, start, end) {
      sound.speech.push([start, end]);
      drawWave($("wave"), sound);
    },
    words: (id, words) => segmentOf(id, words[0].start).words.push(...words),
    names: (id, places) => segmentOf(id, sound.length / sound.rate).named.push(...places),
    completed(id, text, failed) {
      const segment = segmentOf(id, sound.length / sound.rate);
      segment.end = segment.words.at(-1)?.end ?? segment.start;
      Object.assign(segment, { text, failed, done: true });
      show(segment);
    },
    error: (message) => status(message, true),
    closed(asked) {
      if (!asked) status(say("lost"), true);
      stopped();
    },
  });
  $("microphone").setAttribute("aria-pressed", "true");
  translate();
  status(say("listening"));
  try {
    await live.start($("clean").checked);
  } catch (error) {
    live?.stop();
    stopped();
    status(say("refused", error.message), true);
  }
}

function stopped() {
  live = null;
  $("microphone").setAttribute("aria-pressed", "false");
  translate();
}

$("microphone").addEventListener("click", () => {
  if (!live) return start();
  status("");
  live.stop();
});
$("names").addEventListener("change", () => live?.update(settings()));
$("list").addEventListener("change", () => live?.update(settings()));
document.addEventListener("keydown", (event) => {
  const typing = /^(input|textarea|select|button|summary)$/i.test(event.target.tagName);
  if (event.code === "Space" && live && $("manual").checked && !typing) {
    event.preventDefault();
    live.commit();
  }
});

// --- Files ------------------------------------------------------------------

async function read(file) {
  live?.stop();
  clear();
  status(say("reading", file.name));
  const began = performance.now();
  const form = new FormData();
  form.append("file", file);
  form.append("model", $("model").textContent);
  form.append("response_format", "verbose_json");
  form.append("timestamp_granularities[]", "segment");
  form.append("timestamp_granularities[]", "word");
  for (const name of names()) form.append("keywords[]", name);
  if (listName()) form.append("hotwords", listName());
  const [response] = await Promise.all([
    fetch("/v1/audio/transcriptions", { method: "POST", body: form, headers: authorization() }),
    decode(file),
  ]);
  const row = await response.json();
  if (!response.ok) return status(row.error.message, true);
  row.segments.forEach((one, number) => {
    const segment = segmentOf(`file-${number}`, one.start);
    const words = row.words.filter((word) => word.start >= one.start - 0.01 && word.end <= one.end + 0.01);
    segment.words = words.map((word) => ({ text: word.word, start: word.start, end: word.end }));
    Object.assign(segment, { end: one.end, text: one.text, named: one.names_at ?? [], done: true });
    sound.speech.push([one.start, one.end]);
    show(segment);
  });
  drawWave($("wave"), sound);
  status(say("done", row.duration.toFixed(1), ((performance.now() - began) / 1000).toFixed(1)));
}

async function decode(file) {
  const context = new OfflineAudioContext(1, 1, 16000);
  try {
    const buffer = await context.decodeAudioData(await file.arrayBuffer());
    const samples = buffer.getChannelData(0);
    const size = 1600;
    for (let i = 0; i < samples.length; i += size) {
      keep(Int16Array.from(samples.subarray(i, i + size), (x) => Math.max(-1, Math.min(1, x)) * 32767), 16000);
    }
  } catch {
    // The browser need not know every format that the server reads; then there is nothing to see or to play.
  }
  drawWave($("wave"), sound);
}

$("file").addEventListener("change", (event) => {
  const [file] = event.target.files;
  if (file) read(file).catch((error) => status(error.message, true));
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
  const [file] = event.dataTransfer.files;
  if (file) read(file).catch((error) => status(error.message, true));
});

// --- Downloads, and what the server has ---------------------------------------

$("downloads").addEventListener("click", ({ target }) => {
  const format = target.dataset.format;
  if (!format) return;
  const done = segments.filter((one) => one.done && one.text);
  const url = URL.createObjectURL(new Blob([FORMATS[format](done)], { type: "text/plain;charset=utf-8" }));
  const link = Object.assign(document.createElement("a"), { href: url, download: `nim4asr.${format}` });
  link.click();
  URL.revokeObjectURL(url);
});
$("clear").addEventListener("click", clear);

const authorization = () => ($("key").value ? { authorization: `Bearer ${$("key").value}` } : {});

async function greet() {
  const models = await (await fetch("/v1/models", { headers: authorization() })).json();
  $("model").textContent = models.data?.[0]?.id ?? "";
  if (!models.data) return status(models.error.message, true);
  const lists = await (await fetch("/v1/hotwords", { headers: authorization() })).json();
  const options = [new Option(say("none"), ""), ...lists.data.map((one) => new Option(`${one.id} (${one.names})`, one.id))];
  $("list").replaceChildren(...options);
  $("list").hidden = $("list-label").hidden = !lists.data.length;
  status("");
}

$("key").addEventListener("change", greet);
addEventListener("resize", () => drawWave($("wave"), sound));
translate();
drawWave($("wave"), sound);
greet().catch(() => status(say("lost"), true));
