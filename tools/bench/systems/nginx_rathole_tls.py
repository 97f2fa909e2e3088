"""nginx that ends TLS toward callers in front of rathole with its encryption on: what a tunnel takes to have both ways encrypted."""

from stage import System
from systems import nginx, rathole_tls

NEEDS = ["nginx", "rathole"]


def start(stage, path):
    name = "nginx_rathole_tls"
    tunnel = rathole_tls.start(stage, path, name)
    tls = f" ssl; ssl_certificate {stage.certificate}; ssl_certificate_key {stage.key}"
    front = nginx.start(stage, path, name, tls, stage.ca, upstream=tunnel.port)
    return System(name, front.port, [*front.processes, *tunnel.processes], ca=stage.ca)
