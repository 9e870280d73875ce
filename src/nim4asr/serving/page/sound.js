// The sound of the page: where it is loud, where someone speaks, and itself, to be heard again.
const BLOCKS = 600;

export class Sound {
  constructor() {
    this.clear();
  }

  clear() {
    this.rate = 0;
    this.length = 0;
    this.peaks = [];
    this.speech = [];
    this.blocks = [];
    this.parts = [];
    // What cannot be decoded here has a length all the same, if anyone tells.
    this.told = 0;
  }

  get seconds() {
    return Math.max(this.told, this.rate ? this.length / this.rate : 0);
  }

  // A tenth of a second, 16-bit. Browsers keep old parts on the disk, as Blobs.
  keep(block, rate) {
    this.rate = rate;
    let peak = 0;
    for (const sample of block) peak = Math.max(peak, Math.abs(sample));
    this.peaks.push(peak / 32768);
    this.length += block.length;
    this.blocks.push(block);
    if (this.blocks.length === BLOCKS) {
      this.parts.push(new Blob(this.blocks));
      this.blocks = [];
    }
  }

  wav() {
    const header = new DataView(new ArrayBuffer(44));
    const text = (at, letters) => [...letters].forEach((letter, i) => header.setUint8(at + i, letter.charCodeAt(0)));
    const size = this.length * 2;
    text(0, "RIFF");
    header.setUint32(4, 36 + size, true);
    text(8, "WAVEfmt ");
    header.setUint32(16, 16, true);
    header.setUint16(20, 1, true);
    header.setUint16(22, 1, true);
    header.setUint32(24, this.rate, true);
    header.setUint32(28, this.rate * 2, true);
    header.setUint16(32, 2, true);
    header.setUint16(34, 16, true);
    text(36, "data");
    header.setUint32(40, size, true);
    return new Blob([header, ...this.parts, ...this.blocks], { type: "audio/wav" });
  }
}

// How long a file is, in seconds, as far as the browser can tell; else 0.
export function secondsOf(file) {
  const url = URL.createObjectURL(file);
  return new Promise((resolve) => {
    const audio = new Audio();
    const tell = () => {
      URL.revokeObjectURL(url);
      resolve(Number.isFinite(audio.duration) ? audio.duration : 0);
    };
    audio.onloadedmetadata = tell;
    audio.onerror = tell;
    audio.preload = "metadata";
    audio.src = url;
  });
}

// The file's samples into `sound`, at 16 kHz. Rejects what the browser cannot decode. `wanted` may change its mind.
export async function decode(file, sound, wanted) {
  const context = new OfflineAudioContext(1, 1, 16000);
  const buffer = await context.decodeAudioData(await file.arrayBuffer());
  const samples = buffer.getChannelData(0);
  const size = 1600;
  for (let i = 0; i < samples.length && wanted(); i += size) {
    sound.keep(Int16Array.from(samples.subarray(i, i + size), (x) => Math.max(-1, Math.min(1, x)) * 32767), 16000);
    // The page stays alive beside long files.
    if (i % (size * 600) === 0) await new Promise((resolve) => setTimeout(resolve));
  }
}
