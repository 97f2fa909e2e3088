"""ollama-python as a user writes it: the module's own functions, which read OLLAMA_HOST and OLLAMA_API_KEY."""

import asyncio

import ollama

import checks

MESSAGES = [{"role": "user", "content": checks.PROMPT}]
OPTIONS = {"num_predict": checks.SHORT}
ONE_TOKEN, STREAMED = {"num_predict": 1}, {"num_predict": checks.STREAMED}


def name():
    return checks.model(m.model for m in ollama.list().models)


def show():
    shown = ollama.show(name())
    return f"{shown.details.format} {shown.details.family}"


def chat():
    return checks.whole(ollama.chat(model=name(), messages=MESSAGES, options=OPTIONS).message.content)


def chat_stream():
    def parts(options):
        return ollama.chat(model=name(), messages=MESSAGES, options=options, stream=True)

    list(parts(ONE_TOKEN))  # not measured, see checks.streamed
    return checks.streamed(part.message.content for part in parts(STREAMED))


def chat_async():
    async def pieces():
        client = ollama.AsyncClient()
        parts = await client.chat(model=name(), messages=MESSAGES, options=OPTIONS, stream=True)
        return [part.message.content async for part in parts]

    return checks.whole("".join(asyncio.run(pieces())))


def generate():
    return checks.whole(ollama.generate(model=name(), prompt=checks.PROMPT, options=OPTIONS).response)


def generate_stream():
    def parts(options):
        return ollama.generate(model=name(), prompt=checks.PROMPT, options=options, stream=True)

    list(parts(ONE_TOKEN))
    return checks.streamed(part.response for part in parts(STREAMED))


def embed():
    vectors = ollama.embed(model=name(), input=["one", "two"]).embeddings
    assert len(vectors) == 2 and all(len(v) == len(vectors[0]) > 0 for v in vectors), f"{len(vectors)} vectors"
    return f"2 vectors of {len(vectors[0])}"


def stop():
    parts = ollama.chat(model=name(), messages=MESSAGES, options={"num_predict": checks.LONG}, stream=True)
    return checks.stopped(
        (part.message.content for part in parts),
        parts.close,
        lambda: ollama.chat(model=name(), messages=MESSAGES, options=OPTIONS).message.content,
    )


checks.main({
    "list": name,
    "show": show,
    "chat": chat,
    "chat-stream": chat_stream,
    "chat-async": chat_async,
    "generate": generate,
    "generate-stream": generate_stream,
    "embed": embed,
    "stop": stop,
    "refused": lambda: checks.refused(ollama.ResponseError, ollama.list),
    "refused-stream": lambda: checks.refused(
        ollama.ResponseError, lambda: list(ollama.chat(model="any", messages=MESSAGES, stream=True))
    ),
})
