// A sentence of ours in which `backquotes` mark what is typed or shown on a machine.
export function Prose({ text }: { text: string }) {
  return <>{text.split("`").map((piece, at) => (at % 2 === 1 ? <code key={at}>{piece}</code> : piece))}</>;
}
