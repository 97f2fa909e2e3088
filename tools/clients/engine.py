"""A real upstream: llama.cpp's own HTTP server, on a tiny model that this folder's caller makes. It speaks /v1 alone.

The scripts that make and serve the model come from outside this repository; without them the engine's checks are skipped.
"""

import os
import pathlib
import subprocess
import sys

from product import Program, answers, free_port

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = pathlib.Path(os.environ.get("C2L_ENGINE_SCRIPTS", ROOT.parent / "shared" / "upstream"))
# Slow enough per token that a held-back stream shows, endless so that only a stop ends a long answer early.
CHAT = ("chat", ["--layers", "32", "--pad-mib", "64", "--no-eos"], ["--slots", "1"])
EMBED = ("embed", ["--embed"], ["--embed"])


def is_available():
    return (SCRIPTS / "make_tiny_gguf.py").is_file() and (SCRIPTS / "serve_tiny.py").is_file()


class Engine(Program):
    """The engine with one of the models above, answering at `url`."""

    def __init__(self, kind, cache):
        name, make, serve = kind
        model = cache / f"tiny-{name}.gguf"
        if not model.exists():
            part = model.with_suffix(".part")
            command = [sys.executable, SCRIPTS / "make_tiny_gguf.py", part, *make]
            subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
            part.rename(model)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        super().__init__(f"engine-{name}", [sys.executable, SCRIPTS / "serve_tiny.py", model, port, "--alias", "tiny", *serve])

    def __enter__(self):
        try:
            self.wait_for("answer of the engine", lambda: answers(f"{self.url}/health"))
        except BaseException:
            self.__exit__()
            raise
        return self
