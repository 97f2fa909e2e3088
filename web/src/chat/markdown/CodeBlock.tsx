// A block of code: its language, a button that copies it, and colours once it is whole.
import { useEffect, useState } from "preact/hooks";
import { CopyButton } from "../../ui/copy";
import { highlight } from "./highlight";
import { memo } from "./memo";

interface Props {
  code: string;
  language: string;
  isFinished: boolean;
}

export const CodeBlock = memo(function CodeBlock({ code, language, isFinished }: Props) {
  const [coloured, setColoured] = useState<{ code: string; html: string } | null>(null);
  useEffect(() => {
    if (!isFinished) return;
    let isOff = false;
    void highlight(code, language).then((html) => {
      if (!isOff && html !== null) setColoured({ code, html });
    });
    return () => {
      isOff = true;
    };
  }, [code, language, isFinished]);
  const html = coloured?.code === code ? coloured.html : null;
  return (
    <figure class="code">
      <figcaption class="code-head">
        <span>{language || "text"}</span>
        <CopyButton text={code} label="Copy code" />
      </figcaption>
      <pre tabIndex={0} aria-label={`Code${language ? ` in ${language}` : ""}`}>
        {html === null ? <code key="plain">{code}</code> : <code key="coloured" dangerouslySetInnerHTML={{ __html: html }} />}
      </pre>
    </figure>
  );
});
