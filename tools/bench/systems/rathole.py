"""rathole, plain TCP; its TLS variant is `rathole_tls`."""

from stage import System, free_port

NEEDS = ["rathole"]

SERVER = """
[server]
bind_addr = "127.0.0.1:{control}"
default_token = "bench"
{transport}
[server.services.models]
bind_addr = "127.0.0.1:{port}"
"""
CLIENT = """
[client]
remote_addr = "127.0.0.1:{control}"
default_token = "bench"
{transport}
[client.services.models]
local_addr = "127.0.0.1:{upstream}"
"""


def start(stage, path, name="rathole", server_transport="", client_transport=""):
    port, control = free_port(), free_port()
    server = SERVER.format(control=control, port=port, transport=server_transport)
    server = stage.spawn("rathole", "--server", stage.write(f"{name}-server.toml", server))
    client = CLIENT.format(control=path(control), upstream=stage.upstream, transport=client_transport)
    client = stage.spawn("rathole", "--client", stage.write(f"{name}-client.toml", client))
    return System(name, port, [server, client])
