// OpenAI's npm package against a server: argv is its address, a key, a clip, and 16-bit PCM at 24 kHz of it.
import { createRequire } from "node:module";
import { createReadStream, readFileSync } from "node:fs";

const require = createRequire(process.env.NIM4_NODE_MODULES + "/");
const OpenAI = require("openai").default;
const { OpenAIRealtimeWS } = require("openai/realtime/ws");
const [, , url, apiKey, clip, pcm] = process.argv;
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
const create = (options) =>
  client.audio.transcriptions.create({ file: createReadStream(clip), model: "nano", ...options });
const found = {};

found.models = (await client.models.list()).data.map((one) => one.id);
found.json = (await create({})).text;
found.verbose = await create({ response_format: "verbose_json", timestamp_granularities: ["word"] });
found.srt = await create({ response_format: "srt" });
found.events = [];
for await (const event of await create({ stream: true })) found.events.push(event.type);
found.errors = [];
for (const options of [{ model: "gpt-9" }, { response_format: "diarized_json" }]) {
  await create(options).catch((error) => found.errors.push([error.constructor.name, error.status, error.code]));
}

const socket = new OpenAIRealtimeWS({ model: "nano" }, client);
found.realtime = [];
await new Promise((resolve, reject) => {
  const late = setTimeout(() => reject(new Error("no transcript")), 30_000);
  socket.on("error", reject);
  socket.on("session.created", () => {
    socket.send({ type: "session.update", session: { type: "transcription" } });
    const data = readFileSync(pcm);
    for (let i = 0; i < data.length; i += 9600) {
      socket.send({ type: "input_audio_buffer.append", audio: data.subarray(i, i + 9600).toString("base64") });
    }
    socket.send({ type: "input_audio_buffer.commit" });
  });
  socket.on("event", (event) => {
    found.realtime.push(event.type);
    if (event.type === "conversation.item.input_audio_transcription.completed") {
      found.transcript = event.transcript;
      clearTimeout(late);
      resolve();
    }
  });
});
socket.close();
console.log(JSON.stringify(found));
