// Plays the sound of the page from any place; tells where it is, at every frame.
export class Player {
  constructor(listener) {
    this.listener = listener;
    this.audio = new Audio();
    this.audio.onplay = () => this.tick();
    this.audio.onpause = () => this.listener.moved();
    this.audio.onended = () => this.listener.moved();
    this.audio.onseeked = () => this.listener.moved();
    this.audio.onerror = () => this.audio.hasAttribute("src") && this.listener.failed();
  }

  load(blob) {
    this.unload();
    this.url = URL.createObjectURL(blob);
    this.audio.src = this.url;
  }

  unload() {
    this.audio.pause();
    if (this.url) URL.revokeObjectURL(this.url);
    this.url = null;
    this.audio.removeAttribute("src");
    this.audio.load();
  }

  get ready() {
    return Boolean(this.url);
  }

  get playing() {
    return this.ready && !this.audio.paused && !this.audio.ended;
  }

  get time() {
    return this.ready ? this.audio.currentTime : 0;
  }

  seek(time) {
    if (this.ready) this.audio.currentTime = Math.max(0, time);
  }

  play(from) {
    if (!this.ready) return;
    if (from !== undefined) this.seek(from);
    // A new sound may be loaded before this one has begun: that is no failure.
    this.audio.play().catch((error) => error.name === "AbortError" || this.listener.failed());
  }

  toggle() {
    if (this.playing) this.audio.pause();
    else this.play();
  }

  tick() {
    this.listener.moved();
    if (this.playing) requestAnimationFrame(() => this.tick());
  }
}
