// openai (Node) as a user writes it: `new OpenAI()`, which reads OPENAI_BASE_URL and OPENAI_API_KEY.

import OpenAI, { AuthenticationError } from "openai";
import * as check from "./checks.mjs";

const client = new OpenAI();
const messages = [{ role: "user", content: check.PROMPT }];

const name = async () => check.model((await client.models.list()).data.map((m) => m.id));
const chat = async (more = {}) =>
  client.chat.completions.create({ model: await name(), messages, max_tokens: check.SHORT, ...more });
const wholeOf = (answer) => answer.choices[0].message.content;
const textOf = (part) => part.choices[0]?.delta.content;
const isAuthentication = (error) => error instanceof AuthenticationError;
const statusOf = (error) => error.status;

await check.main({
  list: name,
  chat: async () => check.whole(wholeOf(await chat())),
  "chat-stream": async () => {
    await check.drained(await chat({ stream: true, max_tokens: 1 }));
    return check.streamed(await chat({ stream: true, max_tokens: check.STREAMED }), textOf);
  },
  embed: async () =>
    check.vectors(
      (await client.embeddings.create({ model: await name(), input: ["one", "two"] })).data.map((d) => d.embedding),
    ),
  stop: async () => {
    const parts = await chat({ stream: true, max_tokens: check.LONG });
    return check.stopped(parts, textOf, () => parts.controller.abort(), async () => wholeOf(await chat()));
  },
  refused: () => check.refused(isAuthentication, statusOf, () => client.models.list()),
  "refused-stream": () =>
    check.refused(isAuthentication, statusOf, () =>
      client.chat.completions.create({ model: "any", messages, stream: true }),
    ),
});
