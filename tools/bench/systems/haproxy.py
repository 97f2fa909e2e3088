"""HAProxy as one plain reverse-proxy hop."""

from stage import System, free_port

NEEDS = ["haproxy"]

CONFIGURATION = """
global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  http-reuse always
  option abortonclose
frontend callers
  bind 127.0.0.1:{port}
  default_backend models
backend models
  server upstream 127.0.0.1:{upstream}
"""


def start(stage, path):
    port = free_port()
    text = CONFIGURATION.format(port=port, upstream=path(stage.upstream, is_upstream=True))
    return System("haproxy", port, [stage.spawn("haproxy", "-db", "-f", stage.write("haproxy.cfg", text))])
