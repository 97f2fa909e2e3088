// An answer as it is shown. While it grows only its last block is parsed again; see `split`.
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { CodeBlock } from "./CodeBlock";
import { decorate } from "./decorate";
import { memo } from "./memo";
import { linkDefinitions, renderMarkdown } from "./render";
import { Splitter } from "./split";

export function Markdown({ text, isGrowing }: { text: string; isGrowing: boolean }) {
  const splitter = useRef<Splitter | null>(null);
  splitter.current ??= new Splitter();
  splitter.current.update(text);
  const { finished, last } = splitter.current;
  // Links by reference are known once all is there.
  const definitions = useMemo(() => (isGrowing ? "" : linkDefinitions(text)), [text, isGrowing]);
  const blocks = last ? [...finished, last] : finished;
  return (
    <div class="prose">
      {blocks.map((block, index) =>
        block.kind === "code" ? (
          <CodeBlock key={index} code={block.code} language={block.language} isFinished={block.isClosed || !isGrowing} />
        ) : (
          <Prose key={index} source={block.source} definitions={block.source.includes("[") ? definitions : ""} isFinished={index < finished.length || !isGrowing} />
        ),
      )}
    </div>
  );
}

interface ProseProps {
  source: string;
  definitions: string;
  isFinished: boolean;
}

const Prose = memo(function Prose({ source, definitions, isFinished }: ProseProps) {
  const element = useRef<HTMLDivElement>(null);
  const html = useMemo(() => ({ __html: renderMarkdown(definitions ? `${source}\n\n${definitions}` : source) }), [source, definitions]);
  useLayoutEffect(() => (isFinished && element.current ? decorate(element.current) : undefined), [html, isFinished]);
  return <div ref={element} dangerouslySetInnerHTML={html} />;
});
