"""frp: a TCP proxy with its defaults, TLS between the halves among them."""

from stage import System, free_port, wait_for_port

NEEDS = ["frps", "frpc"]


def start(stage, path):
    port, control = free_port(), free_port()
    server = f'bindAddr = "127.0.0.1"\nbindPort = {control}\nproxyBindAddr = "127.0.0.1"\n'
    client = f'serverAddr = "127.0.0.1"\nserverPort = {path(control)}\n[[proxies]]\nname = "models"\ntype = "tcp"\n'
    client += f'localIP = "127.0.0.1"\nlocalPort = {stage.upstream}\nremotePort = {port}\n'
    server = stage.spawn("frps", "-c", stage.write("frps.toml", server))
    wait_for_port(control)
    client = stage.spawn("frpc", "-c", stage.write("frpc.toml", client))
    return System("frp", port, [server, client])
