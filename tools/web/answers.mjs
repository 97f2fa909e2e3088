// What models say that are written down: one that shows everything the page can show, one that is hostile.
import { payloads } from "./payloads.mjs";

const lesson = `The sum of the first $n$ numbers is $\\frac{n(n+1)}{2}$; here is why, and a program that checks it.

1. Write the sum twice, once backwards.
2. Each pair adds up to $n + 1$.
3. There are $n$ pairs, and each number was counted twice:

$$2 \\sum_{k=1}^{n} k = n(n+1)$$

\`\`\`python
def triangle(n: int) -> int:
    """The sum of the first n numbers."""
    return n * (n + 1) // 2

assert all(triangle(n) == sum(range(n + 1)) for n in range(1000))
\`\`\`

| n | sum | formula |
|--:|--:|---|
| 4 | 10 | 4 · 5 / 2 |
| 100 | 5050 | 100 · 101 / 2 |

> Gauss is said to have found this at school. More at [Wikipedia](https://en.wikipedia.org/wiki/Triangular_number).
`;

export const answers = {
  "lesson:latest": {
    capabilities: ["completion", "vision", "thinking", "tools"],
    answer: () => ({ thinking: "The user wants the sum of the first n numbers. I show a proof by pairing, then a small program.", content: lesson }),
  },
  "caller:latest": {
    capabilities: ["completion", "tools"],
    answer: () => ({ content: "I ask for the weather.", toolCalls: [{ function: { name: "get_weather", arguments: { city: "Paris", "<img src=x onerror=pwn('tool')>": 1 } } }] }),
  },
  "hostile:latest": {
    answer: (messages) => {
      const asked = messages.at(-1).content.match(/payloads (\d+) to (\d+)/);
      const chosen = payloads.slice(Number(asked[1]), Number(asked[2]));
      return { thinking: chosen.join("\n\n"), content: chosen.join("\n\n") };
    },
  },
};
