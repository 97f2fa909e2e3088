"""anthropic (Python) as a user writes it: `Anthropic()`, which reads ANTHROPIC_BASE_URL and a key variable."""

from anthropic import Anthropic, AuthenticationError

import checks

client = Anthropic()
MESSAGES = [{"role": "user", "content": checks.PROMPT}]


def name():
    # The upstreams list models in OpenAI's shape: of what this client looks for, only the id is there.
    return checks.model(m.id for m in client.models.list())


def message():
    answer = client.messages.create(model=name(), messages=MESSAGES, max_tokens=checks.SHORT)
    return "".join(block.text for block in answer.content if block.type == "text")


def message_stream():
    def stream(tokens):
        return client.messages.stream(model=name(), messages=MESSAGES, max_tokens=tokens)

    with stream(1) as first:
        list(first.text_stream)  # not measured, see checks.streamed
    with stream(checks.STREAMED) as measured:
        return checks.streamed(measured.text_stream)


def stop():
    with client.messages.stream(model=name(), messages=MESSAGES, max_tokens=checks.LONG) as stream:
        return checks.stopped(stream.text_stream, stream.close, message)


checks.main({
    "list": name,
    "message": lambda: checks.whole(message()),
    "message-stream": message_stream,
    "stop": stop,
    "refused": lambda: checks.refused(AuthenticationError, lambda: client.models.list()),
    "refused-message": lambda: checks.refused(
        AuthenticationError, lambda: client.messages.create(model="any", messages=MESSAGES, max_tokens=1)
    ),
})
