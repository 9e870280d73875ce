// The text of the page: a paragraph a segment, its words, and which of them is chosen or heard.
import { clock } from "./wave.js";

export class Text {
  // `listener.play(time)` for a word that is pressed, `listener.changed()` when there is more or less text.
  constructor(box, log, listener) {
    Object.assign(this, { box, log, listener });
    Object.assign(this, { segments: [], words: [], chosen: null, heard: null });
    box.addEventListener("click", ({ target }) => target.matches(".word") && this.press(target));
    box.addEventListener("keydown", (event) => this.key(event));
  }

  clear() {
    this.segments = [];
    this.words = [];
    this.chosen = this.heard = null;
    this.box.replaceChildren();
    this.log.replaceChildren();
    this.listener.changed();
  }

  get done() {
    return this.segments.filter((one) => one.done && one.text);
  }

  segment(id, start) {
    let segment = this.segments.find((one) => one.id === id);
    if (!segment) {
      segment = { id, start, end: start, text: "", stable: "", volatile: "", words: [], named: [], hits: [], done: false };
      segment.paragraph = document.createElement("p");
      this.box.append(segment.paragraph);
      this.segments.push(segment);
    }
    return segment;
  }

  show(segment) {
    const follows = this.box.scrollHeight - this.box.scrollTop - this.box.clientHeight < 60;
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
      line.append(...this.wordsOf(segment));
      this.tell(segment);
    }
    segment.paragraph.replaceChildren(time, line);
    segment.paragraph.hidden = segment.done && !segment.text && !segment.failed;
    this.words = [...this.box.querySelectorAll(".word")];
    if (!this.chosen?.isConnected) this.choose(this.words[0]);
    // Whoever has scrolled up to read stays there.
    if (follows) this.box.scrollTop = this.box.scrollHeight;
    this.listener.changed();
  }

  // What has been said so far, where no more is to come of it.
  settle() {
    for (const segment of this.segments.filter((one) => !one.done)) {
      segment.text = (segment.stable + segment.volatile).trim();
      segment.done = true;
      this.show(segment);
    }
  }

  // The text with its words marked. What stands between words stays plain.
  wordsOf(segment) {
    const nodes = [];
    const named = placesIn(segment.text, segment.named);
    let at = 0;
    for (const word of segment.words) {
      const place = segment.text.indexOf(word.text, at);
      if (place < 0) continue;
      nodes.push(segment.text.slice(at, place));
      at = place + word.text.length;
      const node = document.createElement("span");
      node.className = "word";
      node.tabIndex = -1;
      node.role = "button";
      node.textContent = word.text;
      node.title = `${word.start.toFixed(2)} – ${word.end.toFixed(2)} s`;
      node.times = word;
      node.classList.toggle("hit", named.some(([from, to]) => from < at && place < to));
      nodes.push(node);
    }
    nodes.push(segment.text.slice(at));
    return nodes;
  }

  // Finals are read out, once; hypotheses are not.
  tell(segment) {
    if (segment.told || !segment.text) return;
    segment.told = true;
    const line = document.createElement("p");
    line.textContent = segment.text;
    this.log.append(line);
    if (this.log.children.length > 5) this.log.firstChild.remove();
  }

  // All words are one stop of the Tab key; arrows go on from word to word.
  choose(word) {
    if (this.chosen) this.chosen.tabIndex = -1;
    this.chosen = word ?? null;
    if (word) word.tabIndex = 0;
  }

  press(word) {
    this.choose(word);
    this.listener.play(word.times.start);
  }

  key(event) {
    const word = event.target;
    const at = this.words.indexOf(word);
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const paragraph = word.closest("p");
    const line = (step) => {
      let other = paragraph;
      do other = step > 0 ? other.nextElementSibling : other.previousElementSibling;
      while (other && !other.querySelector(".word"));
      return other?.querySelector(".word");
    };
    const moves = {
      ArrowRight: () => this.words[at + 1],
      ArrowLeft: () => this.words[at - 1],
      ArrowDown: () => line(1),
      ArrowUp: () => line(-1),
      Home: () => this.words[0],
      End: () => this.words.at(-1),
    };
    if (event.key in moves) {
      const next = moves[event.key]();
      this.choose(next ?? word);
      this.chosen.focus();
    } else if (event.key === "Enter" || event.key === " ") {
      this.press(word);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  // The playhead is at `time`; null: nothing plays.
  follow(time) {
    const word = time === null ? undefined : this.wordAt(time);
    if (word === this.heard) return;
    this.heard?.classList.remove("playing");
    this.heard = word;
    if (!word) return;
    word.classList.add("playing");
    const { top, bottom } = word.getBoundingClientRect();
    const box = this.box.getBoundingClientRect();
    const under = document.querySelector(".controls").getBoundingClientRect();
    const floor = Math.min(box.bottom, innerHeight, under.top > box.top ? under.top : innerHeight);
    if (top < Math.max(0, box.top) || bottom > floor) word.scrollIntoView({ block: "center" });
  }

  wordAt(time) {
    let low = 0;
    for (let high = this.words.length; low < high; ) {
      const middle = (low + high) >> 1;
      if (this.words[middle].times.start <= time + 0.02) low = middle + 1;
      else high = middle;
    }
    const word = this.words[low - 1];
    return word && time < word.times.end + 0.3 ? word : undefined;
  }
}

// The server tells where names stand, in characters; a string of JavaScript counts some of them twice.
function placesIn(text, places) {
  const characters = [...text];
  const before = (count) => characters.slice(0, count).join("").length;
  return places.map(([from, to]) => [before(from), before(to)]);
}
