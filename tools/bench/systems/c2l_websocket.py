"""This product over the WebSocket bridge."""

from systems import c2l

NEEDS = []


def start(stage, path):
    return c2l.start(stage, path, "c2l_websocket", "websocket", is_tls=False)
