// The waveform with its time axis: a bar for each stretch, speech in color.
const BAR = 3;
const PER_SECOND = 30;
const AXIS = 18;
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600];

export const clock = (seconds) => {
  const part = (value) => String(Math.floor(value)).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  const rest = part(seconds % 60);
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${part(minutes % 60)}:${rest}`;
};

// Which part of the sound is shown: the newest while it comes, and then the whole.
export function viewOf(width, seconds, live) {
  if (!live) return { start: 0, perSecond: Math.min(PER_SECOND, width / Math.max(seconds, 1)) };
  return { start: Math.max(0, seconds - width / PER_SECOND), perSecond: PER_SECOND };
}

export function drawWave(canvas, sound, live) {
  const scale = devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(`--${name}`);
  const view = viewOf(width, sound.seconds, live);
  const shown = Math.min(width, (sound.seconds - view.start) * view.perSecond);
  const room = height - AXIS;
  const spoken = sound.speech.toSorted(([a], [b]) => a - b);
  let next = 0;
  for (let x = 0; x + BAR <= shown; x += BAR) {
    const from = view.start + x / view.perSecond;
    const to = from + BAR / view.perSecond;
    while (next < spoken.length && spoken[next][1] < from) next++;
    const first = Math.floor(from * 10);
    const peak = sound.peaks.slice(first, Math.max(first + 1, Math.floor(to * 10))).reduce((a, b) => Math.max(a, b), 0);
    const tall = Math.max(2, Math.min(1, Math.sqrt(peak)) * (room - 6));
    pen.fillStyle = color(next < spoken.length && spoken[next][0] <= to ? "speech" : "silence");
    pen.fillRect(x, (room - tall) / 2, BAR - 1, tall);
  }
  const step = STEPS.find((one) => one * view.perSecond >= 64) ?? STEPS.at(-1);
  pen.fillStyle = color("quiet");
  pen.font = "11px system-ui, sans-serif";
  for (let time = Math.ceil(view.start / step) * step; (time - view.start) * view.perSecond < width; time += step) {
    const x = (time - view.start) * view.perSecond;
    const label = clock(time);
    const wide = pen.measureText(label).width;
    pen.fillRect(x, room, 1, 4);
    pen.fillText(label, Math.max(0, Math.min(width - wide, x - wide / 2)), height - 3);
  }
}
