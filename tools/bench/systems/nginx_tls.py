"""nginx that ends TLS toward callers."""

from systems import nginx

NEEDS = ["nginx"]


def start(stage, path):
    tls = f" ssl; ssl_certificate {stage.certificate}; ssl_certificate_key {stage.key}"
    return nginx.start(stage, path, "nginx_tls", tls, stage.ca)
