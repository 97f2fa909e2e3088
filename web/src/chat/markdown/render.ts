// One block of Markdown as HTML that may be shown. HTML in it is shown as it was written, as text.
import { Marked, type RendererObject } from "marked";
import { mathExtensions } from "./math";
import { safe_link, sanitizeProse } from "./sanitize";

const renderer: RendererObject = {
  html({ text }) {
    return escape(text);
  },
  link({ href, title, tokens }) {
    const text = this.parser.parseInline(tokens);
    if (!safe_link.test(href)) return text;
    return `<a href="${escape(href)}"${title ? ` title="${escape(title)}"` : ""}>${text}</a>`;
  },
  image({ href, text }) {
    // Loading it would tell a stranger that, and what, somebody is reading here.
    return `<code>${escape(`[image: ${text || "without a description"} — ${href.slice(0, 500)}]`)}</code>`;
  },
  checkbox({ checked }) {
    return checked ? "☑ " : "☐ ";
  },
  code({ text, lang }) {
    const language = /^[\w+#.-]{1,40}/.exec(lang ?? "")?.[0].toLowerCase();
    return `<pre><code${language ? ` class="language-${escape(language)}"` : ""}>${escape(text)}</code></pre>`;
  },
};

const markdown = new Marked({ gfm: true, breaks: true, async: false, renderer, extensions: mathExtensions(escape) });

/** HTML of `source`, sanitised. A parser that gives up leaves the source as text. */
export function renderMarkdown(source: string): string {
  let html: string;
  try {
    html = markdown.parse(source, { async: false });
  } catch {
    html = `<p>${escape(source)}</p>`;
  }
  return sanitizeProse(html);
}

/** Definitions of links (`[1]: https://…`), which other blocks may refer to. */
export function linkDefinitions(source: string): string {
  const found = source.match(/^ {0,3}\[[^\]\n]{1,200}\]:\s+\S+.*$/gm);
  return found ? found.slice(0, 200).join("\n") : "";
}

export function escape(text: string): string {
  const named: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (character) => named[character]!);
}
