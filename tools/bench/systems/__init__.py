"""One small module a system. `NEEDS` names the programs it takes; `start(stage, path)` brings it up before the stage's upstream,
or returns None where it cannot be put behind a link.

`path(port)` gives the port by which the agent's side reaches the server's `port`: the same, or a slow link to it. Systems
without an agent's side put the link before the upstream's side of their one hop.
"""

import importlib

# In the order of the table. A name with a suffix is the same system with its encryption on.
NAMES = ["direct", "nginx", "haproxy", "rathole", "bore", "wstunnel", "ssh", "frp", "chisel", "c2l", "c2l_websocket"]
ENCRYPTED = ["nginx_tls", "rathole_tls", "wstunnel_tls", "c2l_tls", "c2l_websocket_tls"]
TUNNELS = {"rathole", "bore", "wstunnel", "ssh", "frp", "chisel", "rathole_tls", "wstunnel_tls"}


def load(name):
    return importlib.import_module(f"systems.{name}")
