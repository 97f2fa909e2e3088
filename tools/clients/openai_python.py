"""openai-python as a user writes it: `OpenAI()`, which reads OPENAI_BASE_URL and OPENAI_API_KEY."""

from openai import AuthenticationError, OpenAI

import checks

client = OpenAI()
MESSAGES = [{"role": "user", "content": checks.PROMPT}]


def name():
    return checks.model(m.id for m in client.models.list())


def chat(tokens=checks.SHORT):
    answer = client.chat.completions.create(model=name(), messages=MESSAGES, max_tokens=tokens)
    return answer.choices[0].message.content


def chunks(tokens):
    return client.chat.completions.create(model=name(), messages=MESSAGES, max_tokens=tokens, stream=True)


def text(parts):
    return (part.choices[0].delta.content for part in parts if part.choices)


def chat_stream():
    list(chunks(1))  # not measured, see checks.streamed
    return checks.streamed(text(chunks(checks.STREAMED)))


def responses_stream():
    def events(tokens):
        return client.responses.create(model=name(), input=checks.PROMPT, max_output_tokens=tokens, stream=True)

    list(events(1))
    return checks.streamed(e.delta for e in events(checks.STREAMED) if e.type == "response.output_text.delta")


def embed():
    vectors = [d.embedding for d in client.embeddings.create(model=name(), input=["one", "two"]).data]
    assert len(vectors) == 2 and all(len(v) == len(vectors[0]) > 0 for v in vectors), f"{len(vectors)} vectors"
    return f"2 vectors of {len(vectors[0])}"


def stop():
    parts = chunks(checks.LONG)
    return checks.stopped(text(parts), parts.close, chat)


checks.main({
    "list": name,
    "chat": lambda: checks.whole(chat()),
    "chat-stream": chat_stream,
    "responses-stream": responses_stream,
    "embed": embed,
    "stop": stop,
    "refused": lambda: checks.refused(AuthenticationError, lambda: client.models.list()),
    "refused-stream": lambda: checks.refused(
        AuthenticationError,
        lambda: client.chat.completions.create(model="any", messages=MESSAGES, stream=True),
    ),
})
