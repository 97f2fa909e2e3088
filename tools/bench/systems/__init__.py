"""One small module a system. `NEEDS` names the programs it takes; `start(stage, path)` brings it up before the stage's upstream,
or returns None where it cannot be put behind a link.

`path(port)` gives the port by which the agent's side reaches the server's `port`: the same, or a slow link to it. Systems
without an agent's side reach the upstream through it (`is_upstream`), so that answers cross it the same way.
"""

import importlib

# In the order of the table. A name with a suffix is the same system with its encryption on.
NAMES = ["direct", "nginx", "haproxy", "rathole", "bore", "wstunnel", "ssh", "frp", "chisel", "c2l", "c2l_websocket"]
# ssh, frp and chisel have no other form.
ENCRYPTED = ["direct", "nginx_tls", "rathole_tls", "wstunnel_tls", "ssh", "frp", "chisel", "nginx_rathole_tls", "c2l_tls", "c2l_tls_link", "c2l_websocket_tls"]
LEFT_OUT_OF_QUICK = ["haproxy"]  # nothing is compared with it
TUNNELS = {"rathole", "bore", "wstunnel", "ssh", "frp", "chisel", "rathole_tls", "wstunnel_tls"}


def load(name):
    return importlib.import_module(f"systems.{name}")
