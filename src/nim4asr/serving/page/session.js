// A live session: the microphone's blocks over OpenAI's Realtime protocol.
import { refusal } from "./upload.js";

const base64 = (block) => {
  const bytes = new Uint8Array(block.buffer);
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
};
const seconds = (row) => ({ text: row.text, start: row.start_ms / 1000, end: row.end_ms / 1000 });

export class LiveSession {
  constructor(settings, listener) {
    this.settings = settings;
    this.listener = listener;
    this.starts = new Map();
    // Turns whose text is still to come, turns that the server's voice activity detection ended, and commits of
    // ours that are not answered.
    this.waiting = new Set();
    this.ended = new Set();
    this.commits = 0;
  }

  async start(clean) {
    if (!navigator.mediaDevices) throw Object.assign(new Error("no secure context"), { name: "insecure" });
    this.media = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: clean, noiseSuppression: clean, autoGainControl: clean },
    });
    if (this.released) return this.silence();
    // The microphone's own rate: the server resamples, and browsers do not agree on doing it.
    this.context = new AudioContext();
    await this.context.resume();
    await this.context.audioWorklet.addModule("/page/worklet.js");
    await this.connect();
    if (this.released) return;
    this.listener.begun(this.context.sampleRate);
    const source = this.context.createMediaStreamSource(this.media);
    this.node = new AudioWorkletNode(this.context, "blocks", { numberOfOutputs: 0, channelCount: 1 });
    this.node.port.onmessage = ({ data }) => {
      if (this.socket.readyState !== WebSocket.OPEN || this.stopping) return;
      this.listener.block(data, this.context.sampleRate);
      this.send({ type: "input_audio_buffer.append", audio: base64(data) });
    };
    source.connect(this.node);
    // A microphone that is pulled out ends the sound as Stop does.
    this.media.getAudioTracks()[0].onended = () => this.stop();
    // A phone that goes to sleep would hear no more.
    this.awake = await navigator.wakeLock?.request("screen").catch(() => null);
    if (this.released) this.awake?.release();
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const key = this.settings.key ? [`openai-insecure-api-key.${this.settings.key}`] : [];
    const url = `${scheme}://${location.host}/v1/realtime?intent=transcription&hypotheses=1`;
    this.socket = new WebSocket(url, ["realtime", ...key]);
    this.socket.onmessage = ({ data }) => this.receive(JSON.parse(data));
    return new Promise((resolve, reject) => {
      this.socket.onopen = () => {
        this.opened = true;
        this.update(this.settings);
        resolve();
      };
      this.socket.onclose = () => {
        this.release();
        reject(Object.assign(new Error("WebSocket"), { code: "unreachable" }));
      };
    });
  }

  update(settings) {
    this.settings = settings;
    if (!this.opened) return;
    const input = {
      format: { type: "audio/pcm", rate: this.context.sampleRate },
      transcription: { keywords: settings.keywords, hotwords: settings.hotwords },
      turn_detection: settings.manual ? null : { type: "server_vad" },
    };
    this.send({ type: "session.update", session: { type: "transcription", audio: { input } } });
  }

  commit() {
    if (this.socket.readyState !== WebSocket.OPEN) return;
    this.commits++;
    this.send({ type: "input_audio_buffer.commit", event_id: "commit" });
  }

  // Ends the sound, and waits for the text of what was said, however late it is.
  stop() {
    if (this.stopping || this.released) return;
    this.stopping = true;
    this.silence();
    if (this.socket?.readyState !== WebSocket.OPEN) return this.cancel();
    this.listener.stopping();
    this.commit();
  }

  // Ends the session at once.
  cancel() {
    this.stopping = this.canceled = true;
    this.socket?.close();
    this.release();
  }

  send(row) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(row));
  }

  receive(row) {
    if (this.released) return;
    const { listener } = this;
    const id = row.item_id;
    switch (row.type) {
      case "input_audio_buffer.speech_started":
        this.starts.set(id, row.audio_start_ms / 1000);
        this.waiting.add(id);
        listener.started(id, row.audio_start_ms / 1000);
        break;
      case "nim4.hypothesis":
        this.waiting.add(id);
        listener.hypothesis(id, row.stable, row.volatile, row.audio_end_ms / 1000);
        break;
      case "input_audio_buffer.speech_stopped":
        this.ended.add(id);
        listener.speech(this.starts.get(id), row.audio_end_ms / 1000);
        break;
      case "input_audio_buffer.committed":
        this.waiting.add(id);
        // Turns that nobody has ended but we.
        if (!this.ended.has(id)) this.answered();
        break;
      case "nim4.words":
        listener.words(id, row.words.map(seconds));
        break;
      case "nim4.names":
        listener.names(id, row.names_at, row.hits.map(seconds));
        break;
      case "conversation.item.input_audio_transcription.completed":
        this.waiting.delete(id);
        listener.completed(id, row.transcript);
        break;
      case "conversation.item.input_audio_transcription.failed":
        // The stream is over, and nothing more is to come of it.
        this.waiting.clear();
        this.commits = 0;
        listener.completed(id, "", row.error);
        break;
      case "error":
        if (row.error.event_id === "commit") this.answered();
        if (row.error.code === "input_audio_buffer_commit_empty") break;
        listener.error(refusal(200, row));
        break;
    }
    if (this.stopping && !this.commits && !this.waiting.size) {
      this.complete = true;
      this.socket.close();
      this.release();
    }
  }

  answered() {
    this.commits = Math.max(0, this.commits - 1);
  }

  silence() {
    this.media?.getTracks().forEach((track) => track.stop());
    this.awake?.release();
  }

  release() {
    if (this.released) return;
    this.released = true;
    this.silence();
    this.context?.close();
    this.listener.closed();
  }
}
