// Requests by the minute over the last hour: bars as elements of SVG, and the same numbers as a table for whoever does not see them.
import { clock } from "../ui/format";
import { scaleOf, type Minute } from "./state";

const width = 600;
const height = 96;
const bar = width / 60;

export function Plot({ minutes }: { minutes: Minute[] }) {
  const top = scaleOf(minutes);
  const tall = (count: number): number => (count / top) * height;
  const sum = minutes.reduce((all, { good, failed }) => ({ good: all.good + good, failed: all.failed + failed }), { good: 0, failed: 0 });
  const said = `${sum.good + sum.failed} requests in the last hour, ${sum.failed} of them failed.`;
  return (
    <figure class="plot">
      <div class="plot-body">
        <div class="plot-scale" aria-hidden="true"><span>{top}</span><span>{top / 2}</span><span>0</span></div>
        <svg viewBox={`0 0 ${width} ${height}`} preserveAspectRatio="none" role="img" aria-label={said}>
          <line class="plot-line" x1="0" x2={width} y1={height / 2} y2={height / 2} />
          <line class="plot-line" x1="0" x2={width} y1={height} y2={height} />
          {minutes.map(({ from_ms, good, failed }, at) => (
            <g key={from_ms}>
              {good > 0 && <rect class="plot-good" x={at * bar + 1} width={bar - 2} y={height - tall(good)} height={tall(good)} />}
              {failed > 0 && <rect class="plot-failed" x={at * bar + 1} width={bar - 2} y={height - tall(good + failed)} height={tall(failed)} />}
            </g>
          ))}
        </svg>
      </div>
      <div class="plot-time" aria-hidden="true"><span>60 min ago</span><span>30 min ago</span><span>now</span></div>
      <figcaption>
        <span>Requests a minute</span>
        <span class="plot-key"><i class="plot-key-good" /> answered</span>
        <span class="plot-key"><i class="plot-key-failed" /> failed</span>
        <AsTable minutes={minutes} />
      </figcaption>
    </figure>
  );
}

function AsTable({ minutes }: { minutes: Minute[] }) {
  const busy = minutes.filter(({ good, failed }) => good + failed > 0).reverse();
  return (
    <details>
      <summary>As a table</summary>
      {busy.length === 0 ? (
        <p>No requests.</p>
      ) : (
        <table class="plain-table">
          <caption class="visually-hidden">Requests a minute, minutes without any left out</caption>
          <thead><tr><th scope="col">Minute from</th><th scope="col">Answered</th><th scope="col">Failed</th></tr></thead>
          <tbody>
            {busy.map(({ from_ms, good, failed }) => (
              <tr key={from_ms}><th scope="row">{clock(from_ms)}</th><td>{good}</td><td>{failed}</td></tr>
            ))}
          </tbody>
        </table>
      )}
    </details>
  );
}
