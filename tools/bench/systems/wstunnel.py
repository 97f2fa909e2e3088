"""wstunnel: a reverse TCP tunnel over a WebSocket."""

from stage import System, free_port

NEEDS = ["wstunnel"]


def start(stage, path, name="wstunnel", scheme="ws", options=()):
    port, control = free_port(), free_port()
    server = stage.spawn("wstunnel", "server", *options, f"{scheme}://127.0.0.1:{control}")
    reverse = f"tcp://127.0.0.1:{port}:127.0.0.1:{stage.upstream}"
    client = stage.spawn("wstunnel", "client", "-R", reverse, f"{scheme}://127.0.0.1:{path(control)}")
    return System(name, port, [server, client])
