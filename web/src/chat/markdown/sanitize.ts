// The one door between what a model wrote and the document. What a model writes is hostile: it may be told what to write by any text
// it was given. Everything that is set as HTML comes from here, as `TrustedHTML` where the browser knows that.
//
// Invariant: nothing passes that runs script, loads anything, takes input, has a style, or leaves its place in the page.
import DOMPurify, { type Config } from "dompurify";

const prose = [
  "a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "span", "strong", "sub",
  "sup", "table", "tbody", "td", "th", "thead", "tr", "ul",
];
const formula = [
  "math", "mrow", "mi", "mn", "mo", "ms", "mtext", "mspace", "msup", "msub", "msubsup", "mfrac", "msqrt", "mroot", "mover", "munder",
  "munderover", "mtable", "mtr", "mtd", "mpadded", "mphantom", "mstyle", "menclose",
];
const formula_attributes = [
  "mathvariant", "display", "stretchy", "fence", "separator", "form", "lspace", "rspace", "minsize", "maxsize", "movablelimits", "accent",
  "accentunder", "columnalign", "columnspacing", "rowspacing", "columnlines", "rowlines", "width", "height", "depth", "linethickness",
  "scriptlevel", "displaystyle", "mathcolor", "notation", "symmetric", "largeop",
];

/** Where a link may lead: elsewhere on the web, or into a letter. */
export const safe_link = /^(?:https?:\/\/|mailto:)/i;
const safe_class = /^(?:language-[\w+#.-]{1,40}|hljs(?:-[\w-]{1,40})?|[\w-]{1,20}_)$/;

// Purifiers of our own, so that no hook of one is at work in another.
const ofProse = withLinks(DOMPurify(window));
const ofFormulas = DOMPurify(window);

const common: Config = { ALLOW_DATA_ATTR: false, ALLOW_ARIA_ATTR: false, ALLOW_UNKNOWN_PROTOCOLS: false, RETURN_TRUSTED_TYPE: true };

/** Prose and highlighted code. */
export function sanitizeProse(html: string): string {
  const config: Config = { ...common, ALLOWED_TAGS: prose, ALLOWED_ATTR: ["href", "title", "class", "start", "align", "target", "rel"], ADD_URI_SAFE_ATTR: ["align", "start"], ALLOWED_URI_REGEXP: safe_link };
  return ofProse.sanitize(html, config) as unknown as string;
}

/** A formula as MathML. Its source, which typesetters put beside it, goes with its content. */
export function sanitizeFormula(html: string): string {
  const config: Config = { ...common, ALLOWED_TAGS: formula, ALLOWED_ATTR: formula_attributes, FORBID_CONTENTS: ["annotation", "annotation-xml", "script", "style"] };
  return ofFormulas.sanitize(html, config) as unknown as string;
}

function withLinks(purifier: typeof DOMPurify): typeof DOMPurify {
  purifier.addHook("uponSanitizeAttribute", (_element, data) => {
    if (data.attrName === "class") {
      data.attrValue = data.attrValue.split(/\s+/).filter((name) => safe_class.test(name)).join(" ");
      data.keepAttr = data.attrValue !== "";
    }
  });
  purifier.addHook("afterSanitizeAttributes", (element) => {
    if (element.tagName !== "A") return;
    if (element.hasAttribute("href")) {
      element.setAttribute("target", "_blank");
      element.setAttribute("rel", "noopener noreferrer");
    } else {
      element.removeAttribute("target");
      element.removeAttribute("rel");
    }
  });
  return purifier;
}
