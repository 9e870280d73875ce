// Downloads of what is on the page. Subtitles are laid out by the server, as those of all other clients.
import { refusal } from "./upload.js";

async function subtitles(format, segments, headers) {
  const rows = segments.map(({ start, end, text, words, named }) => ({
    start,
    end: Math.max(start, end),
    text,
    names_at: named,
    words: words.map((word) => ({ word: word.text, start: word.start, end: word.end })),
  }));
  const unreachable = () => Promise.reject(Object.assign(new Error("network"), { code: "unreachable" }));
  const body = JSON.stringify({ format, segments: rows });
  const answer = await fetch("/v1/subtitles", { method: "POST", headers, body }).catch(unreachable);
  if (!answer.ok) throw refusal(answer.status, await answer.json().catch(() => null));
  return answer.text();
}

// Each takes segments and the headers for the server, and gives a text, or a promise of one.
export const FORMATS = {
  txt: (segments) => segments.map((one) => one.text).join("\n") + "\n",
  srt: (segments, headers) => subtitles("srt", segments, headers),
  vtt: (segments, headers) => subtitles("vtt", segments, headers),
  json: (segments) =>
    JSON.stringify(segments.map(({ start, end, text, words, hits }) => ({ start, end, text, words, hits })), null, 1) + "\n",
};
