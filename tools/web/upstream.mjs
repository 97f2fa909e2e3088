// An upstream in the shape of Ollama: some of its models are the demonstration model with its switches, others say what a case has
// written for them. A caller who leaves is passed on, so the counters of the demonstration model tell of it.
import http from "node:http";
import { answers } from "./answers.mjs";

/** Models that are the demonstration model, and the switches that make them what they are. */
const engine = {
  "tiny:latest": "tiny",
  "steady:latest": "tiny+gap=80ms+lines=120",
  "endless:latest": "tiny+gap=60ms+lines=100000",
  "loading:latest": "tiny+load=8s",
  "broken:latest": "tiny+error=6",
};

export class Upstream {
  static async start(demo) {
    const upstream = new Upstream();
    upstream.demo = demo;
    upstream.server = http.createServer((request, response) => void upstream.serve(request, response));
    await new Promise((resolve) => upstream.server.listen(0, "127.0.0.1", resolve));
    upstream.url = `http://127.0.0.1:${upstream.server.address().port}`;
    return upstream;
  }

  async stop() {
    this.server.closeAllConnections();
    await new Promise((resolve) => this.server.close(resolve));
  }

  async serve(request, response) {
    const path = new URL(request.url, "http://x").pathname;
    const pieces = [];
    for await (const piece of request) pieces.push(piece);
    const body = Buffer.concat(pieces);
    try {
      if (path === "/api/tags") return json(response, { models: names().map(listed) });
      if (path === "/api/show") return json(response, shown(JSON.parse(body).model));
      if (path === "/api/chat") {
        const asked = JSON.parse(body);
        if (answers[asked.model]) return say(response, asked);
        asked.model = engine[asked.model] ?? asked.model;
        return this.forward(request, response, Buffer.from(JSON.stringify(asked)));
      }
    } catch (error) {
      response.writeHead(400, { "content-type": "application/json" });
      return response.end(JSON.stringify({ error: String(error) }));
    }
    return this.forward(request, response, body);
  }

  forward(request, response, body) {
    const { host: _, "content-length": __, ...headers } = request.headers;
    const options = { method: request.method, path: request.url, headers: { ...headers, "content-length": body.length }, agent: false };
    const onward = http.request(`http://${this.demo}`, options, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
      answer.on("error", () => response.destroy());
      answer.on("aborted", () => response.destroy());
    });
    onward.on("error", () => response.destroy());
    response.on("close", () => onward.destroy());
    onward.end(body);
  }
}

function names() {
  return [...Object.keys(engine), ...Object.keys(answers)];
}

function listed(name) {
  const details = { parent_model: "", format: "gguf", family: "llama", families: ["llama"], parameter_size: "1.67M", quantization_level: "F16" };
  return { name, model: name, modified_at: "2026-01-02T03:04:05Z", size: 3_346_944, digest: "f".repeat(64), details };
}

function shown(name) {
  const capabilities = answers[name]?.capabilities ?? ["completion"];
  return { details: listed(name).details, model_info: { "llama.context_length": 4096 }, capabilities, modified_at: listed(name).modified_at };
}

/** Says what is written for this model, in pieces that know nothing of what they cut through. */
function say(response, asked) {
  const { model, messages } = asked;
  const { thinking = "", content, toolCalls } = answers[model].answer(messages);
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  const line = (value) => response.write(`${JSON.stringify({ model, created_at: "2026-01-02T03:04:05Z", ...value })}\n`);
  const cut = (text) => text.match(/[^]{1,9}/gu) ?? [];
  for (const piece of cut(thinking)) line({ message: { role: "assistant", content: "", thinking: piece }, done: false });
  for (const piece of cut(content)) line({ message: { role: "assistant", content: piece }, done: false });
  if (toolCalls) line({ message: { role: "assistant", content: "", tool_calls: toolCalls }, done: false });
  const counts = { total_duration: 2e9, load_duration: 1e8, prompt_eval_count: 26, prompt_eval_duration: 1e8, eval_count: 259, eval_duration: 1.8e9 };
  line({ message: { role: "assistant", content: "" }, done: true, done_reason: "stop", ...counts });
  response.end();
}

function json(response, value) {
  response.writeHead(200, { "content-type": "application/json" });
  response.end(JSON.stringify(value));
}
