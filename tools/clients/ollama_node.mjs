// ollama-js as an application writes it. It reads no variable itself, so the application hands it OLLAMA_HOST.

import { Ollama } from "ollama";
import * as check from "./checks.mjs";

const ollama = new Ollama({ host: process.env.OLLAMA_HOST });
const messages = [{ role: "user", content: check.PROMPT }];
const options = { num_predict: check.SHORT };
const [oneToken, streamed] = [{ num_predict: 1 }, { num_predict: check.STREAMED }];

const name = async () => check.model((await ollama.list()).models.map((m) => m.model));
const chat = async (more = {}) => ollama.chat({ model: await name(), messages, options, ...more });
const generate = async (options) =>
  ollama.generate({ model: await name(), prompt: check.PROMPT, options, stream: true });
const textOf = (part) => part.message.content;
const isResponseError = (error) => error.constructor.name === "ResponseError"; // the class itself is not exported
const statusOf = (error) => error.status_code;

await check.main({
  list: name,
  chat: async () => check.whole(textOf(await chat())),
  "chat-stream": async () => {
    await check.drained(await chat({ stream: true, options: oneToken }));
    return check.streamed(await chat({ stream: true, options: streamed }), textOf);
  },
  "generate-stream": async () => {
    await check.drained(await generate(oneToken));
    return check.streamed(await generate(streamed), (part) => part.response);
  },
  embed: async () => check.vectors((await ollama.embed({ model: await name(), input: ["one", "two"] })).embeddings),
  stop: async () => {
    const parts = await chat({ stream: true, options: { num_predict: check.LONG } });
    return check.stopped(parts, textOf, () => parts.abort(), async () => textOf(await chat()));
  },
  refused: () => check.refused(isResponseError, statusOf, () => ollama.list()),
  "refused-stream": () =>
    check.refused(isResponseError, statusOf, () => ollama.chat({ model: "any", messages, stream: true })),
});
