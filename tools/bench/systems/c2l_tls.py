"""This product with TLS toward callers and agent alike."""

from systems import c2l

NEEDS = []


def start(stage, path):
    return c2l.start(stage, path, "c2l_tls", "grpc", is_tls=True)
