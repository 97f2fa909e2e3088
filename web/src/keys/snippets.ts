// Lines that use a key, ready to copy. A key stands in them because the browser has just been told it; it is never put into a link.
import type { NewKey } from "./state";

export interface Snippet {
  id: string;
  name: string;
  parts: { label: string; text: string }[];
}

/** The model that examples name: the first that the key may use by its whole name. */
export function exampleModel(models: string[]): string {
  return models.find((pattern) => !/[*?]/.test(pattern)) ?? "llama3.2";
}

/** All of them. `origin` has no slash at its end; a key consists of letters, digits and `_`, so it needs no quoting anywhere. */
export function snippetsFor(origin: string, key: Pick<NewKey, "key" | "models">): Snippet[] {
  const secret = key.key;
  const model = exampleModel(key.models);
  const quoted = JSON.stringify(model); // the same in Python and JavaScript
  const host = `${origin}/k/${secret}`;
  const variables = [
    ["OLLAMA_HOST", host],
    ["OPENAI_BASE_URL", `${origin}/v1`],
    ["OPENAI_API_KEY", secret],
    ["ANTHROPIC_BASE_URL", origin],
    ["ANTHROPIC_AUTH_TOKEN", secret],
  ] as const;
  const indented = (spaces: number): string => variables.map(([name, value]) => `${" ".repeat(spaces)}${name}: "${value}"\n`).join("");
  const one = (id: string, name: string, label: string, text: string): Snippet => ({ id, name, parts: [{ label, text }] });
  return [
    {
      id: "shell",
      name: "Shell",
      parts: [
        { label: "any Ollama client", text: `export OLLAMA_HOST=${host}` },
        { label: "any OpenAI client", text: `export OPENAI_BASE_URL=${origin}/v1 OPENAI_API_KEY=${secret}` },
        { label: "any Anthropic client", text: `export ANTHROPIC_BASE_URL=${origin} ANTHROPIC_AUTH_TOKEN=${secret}` },
        { label: "try it with curl", text: `curl ${host}/api/chat -d '${chatBody(model)}'` },
      ],
    },
    {
      id: "docker",
      name: "Docker",
      parts: [
        { label: "a file for your eyes alone", text: `(umask 077; cat > c2l.env <<'END'\n${variables.map(([name, value]) => `${name}=${value}\n`).join("")}END\n)` },
        { label: "a container that uses it", text: "docker run --rm --env-file c2l.env YOUR_IMAGE" },
      ],
    },
    one("compose", "Compose", "compose.yaml", `services:\n  app:\n    image: YOUR_IMAGE\n    environment:\n${indented(6)}`),
    {
      id: "kubernetes",
      name: "Kubernetes",
      parts: [
        { label: "the secret", text: `apiVersion: v1\nkind: Secret\nmetadata:\n  name: c2l\nstringData:\n${indented(2)}` },
        { label: "in the container of a pod", text: "envFrom:\n  - secretRef:\n      name: c2l\n" },
      ],
    },
    {
      id: "python",
      name: "Python",
      parts: [
        {
          label: "with ollama",
          text: `from ollama import Client\n\nclient = Client(host="${host}")\nfor piece in client.chat(model=${quoted}, messages=[{"role": "user", "content": "hello"}], stream=True):\n    print(piece.message.content, end="", flush=True)\n`,
        },
        {
          label: "with openai",
          text: `from openai import OpenAI\n\nclient = OpenAI(base_url="${origin}/v1", api_key="${secret}")\nanswer = client.chat.completions.create(model=${quoted}, messages=[{"role": "user", "content": "hello"}])\nprint(answer.choices[0].message.content)\n`,
        },
      ],
    },
    {
      id: "javascript",
      name: "JavaScript",
      parts: [
        {
          label: "with ollama",
          text: `import { Ollama } from "ollama";\n\nconst ollama = new Ollama({ host: "${host}" });\nconst answer = await ollama.chat({ model: ${quoted}, messages: [{ role: "user", content: "hello" }] });\nconsole.log(answer.message.content);\n`,
        },
        {
          label: "with openai",
          text: `import OpenAI from "openai";\n\nconst openai = new OpenAI({ baseURL: "${origin}/v1", apiKey: "${secret}" });\nconst answer = await openai.chat.completions.create({ model: ${quoted}, messages: [{ role: "user", content: "hello" }] });\nconsole.log(answer.choices[0].message.content);\n`,
        },
      ],
    },
  ];
}

/** For between single quotes of a shell; names of models have none, and one that did would not end them. */
function chatBody(model: string): string {
  return JSON.stringify({ model, messages: [{ role: "user", content: "hello" }] }).replaceAll("'", "'\\''");
}
