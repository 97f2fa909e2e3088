"""What the Python clients' checks share: run the ones named on the command line, and say of each how it went.

A check is a function that returns a few words for the reader, or raises. The driver counts the lines printed here, and a
check without a line counts as failed, so nothing is passed over in silence. Read next: drive.py.
"""

import os
import sys
import time

PROMPT = "Tell me about the tunnel."
SHORT, STREAMED, LONG = 60, 120, 4000  # tokens; a long answer takes many times NEXT_WITHIN on the engine
FIRST_PIECES = 3
NEXT_WITHIN = 8.0  # seconds: what a request may take when the one before it was stopped


def model(listed):
    """The model to ask: the one in CHECK_MODEL, else the first that the client's own listing shows."""
    names = list(listed)
    assert names, "the list of models is empty"
    wanted = os.environ.get("CHECK_MODEL", names[0])
    assert wanted in names, f"{wanted} is not among {names}"
    return wanted


def whole(text):
    """A plain answer must say something."""
    assert text and text.strip(), f"the answer is empty: {text!r}"
    return f"{len(text)} characters"


def streamed(pieces):
    """A streamed answer must come in several pieces, and not all of them at its end.

    Not the first stream of its kind in this process: a client builds its types on first use, for half a second, and that is
    not the stream's delay. So a check takes one of a token before it measures one.
    """
    start = time.monotonic()
    arrivals, texts = [], []
    for piece in pieces:
        if piece:
            arrivals.append(time.monotonic() - start)
            texts.append(piece)
    assert len(arrivals) >= FIRST_PIECES, f"came in {len(arrivals)} pieces: {''.join(texts)!r}"
    took = time.monotonic() - start
    # A quick answer cannot show the difference; a slow one that was held back arrives all at once.
    assert took < 0.6 or arrivals[0] < took * 0.8, f"held back: first piece at {arrivals[0]:.2f} s of {took:.2f} s"
    whole("".join(texts))
    return f"{len(arrivals)} pieces in {took:.2f} s, the first at {arrivals[0]:.2f} s"


def stopped(pieces, stop, ask_again):
    """A reader who leaves in the middle must leave the next request unharmed, and the model free to answer it."""
    taken = 0
    for piece in pieces:
        taken += bool(piece)
        if taken == FIRST_PIECES:
            break
    assert taken == FIRST_PIECES, f"the stream ended by itself after {taken} pieces"
    stop()
    start = time.monotonic()
    said = whole(ask_again())
    took = time.monotonic() - start
    assert took < NEXT_WITHIN, f"the next request took {took:.1f} s: the stopped one still holds the model"
    return f"left after {taken} pieces; the next answer, {said}, took {took:.2f} s"


def refused(error_class, ask):
    """A wrong credential must reach the caller as the client's own error for that, with 401 and a reason to read."""
    start = time.monotonic()
    try:
        answer = ask()
    except error_class as error:
        assert error.status_code == 401, f"status {error.status_code}: {error}"
        assert str(error).strip(), "the error has no message"
        assert time.monotonic() - start < 5, "a refusal must be immediate, and not retried"
        return f"{type(error).__name__}: {error}"
    raise AssertionError(f"was answered: {answer!r:.100}")


def main(checks):
    """Run the checks named on the command line, in that order."""
    for name in sys.argv[1:]:
        try:
            print(f"ok {name} {checks[name]()}".replace("\n", " "), flush=True)
        except Exception as error:  # whatever the client raises is what its user would see
            print(f"failed {name} {type(error).__name__}: {error}".replace("\n", " "), flush=True)
