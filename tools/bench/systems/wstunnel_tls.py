"""wstunnel with its TLS on."""

from systems import wstunnel

NEEDS = ["wstunnel"]


def start(stage, path):
    options = ["--tls-certificate", stage.certificate, "--tls-private-key", stage.key]
    return wstunnel.start(stage, path, "wstunnel_tls", "wss", options)
