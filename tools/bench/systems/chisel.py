"""chisel: a reverse tunnel over SSH over a WebSocket. Always encrypted."""

from stage import System, free_port

NEEDS = ["chisel"]


def start(stage, path):
    port, control = free_port(), free_port()
    server = stage.spawn("chisel", "server", "--reverse", "--host", "127.0.0.1", "--port", str(control))
    reverse = f"R:127.0.0.1:{port}:127.0.0.1:{stage.upstream}"
    client = stage.spawn("chisel", "client", f"http://127.0.0.1:{path(control)}", reverse)
    return System("chisel", port, [server, client])
