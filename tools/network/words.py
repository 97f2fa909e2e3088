"""What the upstream of `storm.py` is asked and what it answers: both sides can compute it, so a hash shows what was torn or mixed up."""

import hashlib
import json
import random
import string

LETTERS = string.ascii_letters + string.digits


def letters(seed, count):
    """The same letters for the same seed, everywhere."""
    return "".join(random.Random(seed).choices(LETTERS, k=count))


def question(number, padding):
    """A prompt that tells its own length and content: what is missing from it shows."""
    return f"storm {number} {padding} {letters(f'question {number}', padding)}"


def read_question(prompt):
    """The number of an untouched prompt of `question`, or nothing."""
    word, number, padding, _ = (prompt + "   ").split(" ", 3)
    is_whole = word == "storm" and padding.isdigit() and prompt == question(number, int(padding))
    return number if is_whole else None


def answer_line(owner, number, line, size):
    """One line of the answer that this owner's upstream gives to this question."""
    content = f"{owner} {number} {line} {letters(f'{owner} {number} {line}', size)} "
    return json.dumps({"message": {"role": "assistant", "content": content}, "done": False}).encode() + b"\n"


LAST_LINE = json.dumps({"message": {"role": "assistant", "content": ""}, "done": True}).encode() + b"\n"


def answer_hash(owner, number, lines, size):
    whole = hashlib.sha256()
    for line in range(lines):
        whole.update(answer_line(owner, number, line, size))
    whole.update(LAST_LINE)
    return whole.hexdigest()
