// The waveform: one bar a tenth of a second, speech in color, the newest part when there is more than fits.
const BAR = 3;

export function drawWave(canvas, sound) {
  const scale = devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  const style = getComputedStyle(document.documentElement);
  const color = { true: style.getPropertyValue("--speech"), false: style.getPropertyValue("--silence") };
  const perBar = sound.peaks.length ? sound.length / sound.rate / sound.peaks.length : 0.1;
  const room = Math.floor(width / BAR);
  const first = Math.max(0, sound.peaks.length - room);
  const spoken = (time) => sound.speech.some(([start, end]) => start <= time && time <= end);
  for (let i = first; i < sound.peaks.length; i++) {
    const tall = Math.max(2, Math.min(1, Math.sqrt(sound.peaks[i])) * (height - 12));
    pen.fillStyle = color[spoken((i + 0.5) * perBar)];
    pen.fillRect((i - first) * BAR, (height - tall) / 2, BAR - 1, tall);
  }
}
