// What the Node clients' checks share; the twin of checks.py, which explains it.

export const PROMPT = "Tell me about the tunnel.";
export const SHORT = 60;
export const STREAMED = 120;
export const LONG = 4000;
const FIRST_PIECES = 3;
const NEXT_WITHIN_MS = 8000;

export function assert(claim, message) {
  if (!claim) throw new Error(message);
}

/** The model to ask: the one in CHECK_MODEL, else the first that the client's own listing shows. */
export function model(names) {
  assert(names.length > 0, "the list of models is empty");
  const wanted = process.env.CHECK_MODEL ?? names[0];
  assert(names.includes(wanted), `${wanted} is not among ${names}`);
  return wanted;
}

/** A plain answer must say something. */
export function whole(text) {
  assert(text?.trim(), `the answer is empty: ${JSON.stringify(text)}`);
  return `${text.length} characters`;
}

export function vectors(list) {
  assert(list.length === 2 && list.every((v) => v.length > 0 && v.length === list[0].length), `${list.length} vectors`);
  return `2 vectors of ${list[0].length}`;
}

/** A streamed answer must come in several pieces, and not all of them at its end. Not the first stream of its kind. */
export async function streamed(parts, textOf) {
  const start = performance.now();
  const arrivals = [];
  let text = "";
  for await (const part of parts) {
    const piece = textOf(part);
    if (!piece) continue;
    arrivals.push(performance.now() - start);
    text += piece;
  }
  assert(arrivals.length >= FIRST_PIECES, `came in ${arrivals.length} pieces: ${JSON.stringify(text)}`);
  const took = performance.now() - start;
  assert(took < 600 || arrivals[0] < took * 0.8, `held back: first piece at ${arrivals[0]} ms of ${took} ms`);
  whole(text);
  return `${arrivals.length} pieces in ${took.toFixed()} ms, the first at ${arrivals[0].toFixed()} ms`;
}

/** Takes a stream to its end, which is not measured: one of a token, before one that is. */
export async function drained(parts) {
  for await (const _ of parts);
}

/** A reader who leaves in the middle must leave the next request unharmed, and the model free to answer it. */
export async function stopped(parts, textOf, stop, askAgain) {
  let taken = 0;
  try {
    for await (const part of parts) {
      if (textOf(part)) taken += 1;
      if (taken === FIRST_PIECES) stop(); // both clients end the iteration, one of them by an AbortError
    }
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  }
  assert(taken >= FIRST_PIECES, `the stream ended by itself after ${taken} pieces`);
  const start = performance.now();
  const said = whole(await askAgain());
  const took = performance.now() - start;
  assert(took < NEXT_WITHIN_MS, `the next request took ${took.toFixed()} ms: the stopped one still holds the model`);
  return `left after ${taken} pieces; the next answer, ${said}, took ${took.toFixed()} ms`;
}

/** A wrong credential must reach the caller as the client's own error for that, with 401 and a reason to read. */
export async function refused(isExpected, statusOf, ask) {
  const start = performance.now();
  let answer;
  try {
    answer = await ask();
  } catch (error) {
    assert(isExpected(error), `${error.constructor.name}: ${error.message}`);
    assert(statusOf(error) === 401, `status ${statusOf(error)}: ${error.message}`);
    assert(error.message?.trim(), "the error has no message");
    assert(performance.now() - start < 5000, "a refusal must be immediate, and not retried");
    return `${error.constructor.name}: ${error.message}`;
  }
  throw new Error(`was answered: ${JSON.stringify(answer)?.slice(0, 100)}`);
}

/** Run the checks named on the command line, in that order. */
export async function main(checks) {
  for (const name of process.argv.slice(2)) {
    try {
      console.log(`ok ${name} ${await checks[name]()}`.replaceAll("\n", " "));
    } catch (error) {
      console.log(`failed ${name} ${error.name}: ${error.message}`.replaceAll("\n", " "));
    }
  }
}
