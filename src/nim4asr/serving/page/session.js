// A live session: the microphone's blocks over OpenAI's Realtime protocol.

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
    this.waiting = new Set();
  }

  async start(clean) {
    this.media = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: clean, noiseSuppression: clean, autoGainControl: clean },
    });
    // The microphone's own rate: the server resamples, and browsers do not agree on doing it.
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule("/page/worklet.js");
    await this.connect();
    const source = this.context.createMediaStreamSource(this.media);
    this.node = new AudioWorkletNode(this.context, "blocks", { numberOfOutputs: 0, channelCount: 1 });
    this.node.port.onmessage = ({ data }) => {
      if (this.socket.readyState !== WebSocket.OPEN || this.stopping) return;
      this.listener.block(data, this.context.sampleRate);
      this.send({ type: "input_audio_buffer.append", audio: base64(data) });
    };
    source.connect(this.node);
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const key = this.settings.key ? [`openai-insecure-api-key.${this.settings.key}`] : [];
    const url = `${scheme}://${location.host}/v1/realtime?intent=transcription&hypotheses=1`;
    this.socket = new WebSocket(url, ["realtime", ...key]);
    this.socket.onmessage = ({ data }) => this.receive(JSON.parse(data));
    this.socket.onclose = () => this.release();
    return new Promise((resolve, reject) => {
      this.socket.onopen = () => {
        this.update(this.settings);
        resolve();
      };
      this.socket.onerror = () => reject(new Error("WebSocket"));
    });
  }

  update(settings) {
    this.settings = settings;
    const input = {
      format: { type: "audio/pcm", rate: this.context.sampleRate },
      transcription: { keywords: settings.keywords, hotwords: settings.hotwords },
      turn_detection: settings.manual ? null : { type: "server_vad" },
    };
    this.send({ type: "session.update", session: { type: "transcription", audio: { input } } });
  }

  commit() {
    this.send({ type: "input_audio_buffer.commit" });
  }

  // Ends the sound; what was said last is still written down.
  stop() {
    if (this.stopping) return;
    this.stopping = true;
    this.media?.getTracks().forEach((track) => track.stop());
    if (this.socket?.readyState !== WebSocket.OPEN) return this.release();
    this.commit();
    this.closer = setTimeout(() => this.socket.close(), 5000);
  }

  send(row) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(row));
  }

  receive(row) {
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
        listener.speech(id, this.starts.get(id), row.audio_end_ms / 1000);
        break;
      case "input_audio_buffer.committed":
        this.waiting.add(id);
        this.acknowledged = this.stopping;
        break;
      case "nim4.words":
        listener.words(id, row.words.map(seconds));
        break;
      case "nim4.names":
        listener.names(id, row.names_at);
        break;
      case "conversation.item.input_audio_transcription.completed":
        this.waiting.delete(id);
        listener.completed(id, row.transcript);
        this.closeIfDone();
        break;
      case "conversation.item.input_audio_transcription.failed":
        this.waiting.delete(id);
        listener.completed(id, "", row.error.message);
        break;
      case "error":
        if (row.error.code !== "input_audio_buffer_commit_empty") listener.error(row.error.message);
        this.acknowledged = this.stopping;
        this.closeIfDone();
        break;
    }
  }

  // Once the last commit has been answered and nothing more is to come.
  closeIfDone() {
    if (this.acknowledged && !this.waiting.size) this.socket.close();
  }

  release() {
    if (this.released) return;
    this.released = true;
    clearTimeout(this.closer);
    this.media?.getTracks().forEach((track) => track.stop());
    this.context?.close();
    this.listener.closed(this.stopping);
  }
}
