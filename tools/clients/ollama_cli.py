"""The `ollama` command as a user types it: it reads OLLAMA_HOST, and asks `HEAD` of that very address before anything else."""

import subprocess

import checks


def ollama(*arguments):
    """Run the command: its exit code, what it said, and what it complained of."""
    ran = subprocess.run(["ollama", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    return ran.returncode, ran.stdout, ran.stderr


def done(*arguments):
    code, said, complained = ollama(*arguments)
    assert code == 0, f"exit code {code}: {complained.strip()[-200:]}"
    return said


def name():
    return checks.model(line.split()[0] for line in done("list").splitlines()[1:])


def show():
    said = done("show", name())
    assert "architecture" in said, said
    return checks.whole(said)


def refused():
    # This client throws the body of a 401 away, so there is no reason to look for; but it must stop, and say so.
    code, _, complained = ollama("list")
    assert code != 0 and complained.strip(), f"exit code {code}: {complained!r}"
    return f"exit code {code}: {complained.strip()}"


checks.main({
    "version": lambda: checks.whole(done("--version")),
    "list": name,
    "show": show,
    "run": lambda: checks.whole(done("run", name(), checks.PROMPT)),
    "refused": refused,
})
