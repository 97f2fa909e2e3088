// The mock's answers: a text with everything that Markdown has, word by word. A question with `offline`, `torn`, `expire` or `think`
// in it is answered so; the model `slow:70b` times out while it loads, and answers half a minute later.
import type { ServerResponse } from "node:http";
import { refuse } from "./routes.ts";

const text = `Here is **everything** at once, with \`code\`, a [link](https://example.org) and a formula $e^{i\\pi} + 1 = 0$.

## A list

1. First, something short
2. Then a bit more:
   - with *emphasis*
   - and ~~what is gone~~

| Model | Size | Tokens/s |
|-------|-----:|---------:|
| llama3.2 | 3.2B | 88 |
| qwen3 | 30B | 41 |

\`\`\`rust
/// Adds two numbers.
fn add(a: u32, b: u32) -> Option<u32> {
    a.checked_add(b) // none where it overflows
}
\`\`\`

> A quote, and below it a sum:

$$
\\sum_{k=1}^{n} k = \\frac{n(n+1)}{2}
$$

<script>alert("text")</script> stays text, and ![a picture](https://example.org/a.png) is not loaded.
`;

const load_ms = 30_000;
const token_ms = 20;

export function chat(asked: { model: string; messages: { content: string }[] }, loaded: Set<string>, response: ServerResponse): void {
  const question = asked.messages.at(-1)?.content ?? "";
  if (question.includes("offline")) return refuse(response, 503, "agent_offline", 'no device "desk" is connected');
  if (!loaded.has(asked.model)) {
    setTimeout(() => loaded.add(asked.model), asked.model.startsWith("slow") ? load_ms : 0);
    if (asked.model.startsWith("slow")) return void setTimeout(() => refuse(response, 504, "timeout", "no first byte within 5 s"), 5000);
  }
  response.writeHead(200, { "content-type": "application/x-ndjson" });
  const line = (value: object): void => void response.write(`${JSON.stringify({ model: asked.model, ...value })}\n`);
  const thoughts = question.includes("think") ? "They want *everything*. Let me think about what that is. ".split(/(?<= )/) : [];
  const words = text.split(/(?<= )/);
  let at = 0;
  const timer = setInterval(() => {
    const thought = thoughts.shift();
    if (thought !== undefined) return line({ message: { role: "assistant", content: "", thinking: thought }, done: false });
    if (question.includes("torn") && at > 20) return stop(() => response.destroy());
    const content = words[at++];
    if (content !== undefined) return line({ message: { role: "assistant", content }, done: false });
    if (question.includes("tool")) line({ message: { role: "assistant", content: "", tool_calls: [{ function: { name: "weather", arguments: { city: "Wien" } } }] }, done: false });
    const counts = { prompt_eval_count: 26, eval_count: words.length, eval_duration: words.length * token_ms * 1e6, load_duration: 1e7, total_duration: 3e9 };
    stop(() => {
      line({ message: { role: "assistant", content: "" }, done: true, done_reason: "stop", ...counts });
      response.end();
    });
  }, token_ms);
  const stop = (then: () => void): void => {
    clearInterval(timer);
    then();
  };
  response.on("close", () => clearInterval(timer));
}
