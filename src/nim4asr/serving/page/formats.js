// Downloads of what is on the page.
const stamp = (seconds, point) => {
  const ms = Math.round(seconds * 1000);
  const part = (value, size = 2) => String(value).padStart(size, "0");
  const rest = part(ms % 1000, 3);
  return `${part(Math.floor(ms / 3600000))}:${part(Math.floor(ms / 60000) % 60)}:${part(Math.floor(ms / 1000) % 60)}${point}${rest}`;
};
const span = (segment, point) => `${stamp(segment.start, point)} --> ${stamp(segment.end, point)}`;

export const FORMATS = {
  txt: (segments) => segments.map((one) => one.text).join("\n") + "\n",
  srt: (segments) => segments.map((one, i) => `${i + 1}\n${span(one, ",")}\n${one.text}\n`).join("\n"),
  vtt: (segments) => ["WEBVTT\n", ...segments.map((one) => `${span(one, ".")}\n${one.text}\n`)].join("\n"),
  json: (segments) =>
    JSON.stringify(segments.map(({ start, end, text, words, hits }) => ({ start, end, text, words, hits })), null, 1) + "\n",
};
