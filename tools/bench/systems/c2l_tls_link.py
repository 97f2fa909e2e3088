"""This product with TLS toward the agent alone, as the tunnels have it: callers speak clear text to the same port."""

from systems import c2l

NEEDS = []


def start(stage, path):
    return c2l.start(stage, path, "c2l_tls_link", "grpc", is_tls=True, are_callers_clear=True)
