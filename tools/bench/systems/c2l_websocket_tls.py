"""This product over the WebSocket bridge inside TLS."""

from systems import c2l

NEEDS = []


def start(stage, path):
    return c2l.start(stage, path, "c2l_websocket_tls", "websocket", is_tls=True)
