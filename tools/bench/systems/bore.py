"""bore: a connection to the server for each caller. Its control port is fixed, so it cannot be put behind a link."""

from stage import System, free_port, wait_for_port

NEEDS = ["bore"]
CONTROL = 7835


def start(stage, path):
    if path(CONTROL) != CONTROL:
        return None
    port = free_port()
    server = stage.spawn("bore", "server", "--min-port", str(port), "--max-port", str(port), "--bind-addr", "127.0.0.1")
    wait_for_port(CONTROL)
    client = stage.spawn("bore", "local", str(stage.upstream), "--local-host", "127.0.0.1", "--to", "127.0.0.1", "--port", str(port))
    return System("bore", port, [server, client])
