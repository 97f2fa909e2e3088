"""The agent over TLS to a relay whose root only `--ca-file` names, and through a box that looks into TLS. All on loopback."""

import functools
import pathlib
import re
import ssl
import tempfile

from parts import certify, expect, require
from proxies import CONNECTED_WITHIN, Bench
from road import Road


def contexts(certified):
    """What a box that looks into TLS shows to either side: the relay's name, and no ALPN."""
    toward_agent = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    toward_agent.load_cert_chain(certified / "relay.pem", certified / "relay.key")
    return toward_agent, ssl.create_default_context(cafile=certified / "root.pem")


def scenarios(binary, outer):
    @functools.cache
    def place():
        """The same for all: a folder with certificates, and a relay that serves them."""
        require("openssl")
        certified = pathlib.Path(outer.enter_context(tempfile.TemporaryDirectory(prefix="c2l-certified-")))
        certify(certified)
        return certified, Bench(binary, outer, certified), ["--ca-file", certified / "root.pem"]

    def connects(device, way, *flags):
        def scenario(stack):
            _, bench, known = place()
            agent = bench.agent(stack, device, *known, *flags)
            return bench.streams(agent, device, way=way)

        return scenario

    def unknown_root(stack):
        _, bench, _ = place()
        agent = bench.agent(stack, "refused")
        line = agent.line("trying again", within=CONNECTED_WITHIN)
        expect("certificate" in line, f"not told: {line}")
        expect(not agent.sessions(), "a session all the same")
        return f'the log says "{re.search(r"setback=(.*?) wait=", line)[1]}"'

    def without_alpn(stack):
        certified, bench, known = place()
        box = stack.enter_context(Road(("127.0.0.1", bench.relay.port), tls=contexts(certified)))
        agent = bench.agent(stack, "no-alpn", *known, relay=f"https://127.0.0.1:{box.port}")
        said = bench.streams(agent, "no-alpn", way="websocket")
        return f"{said}; {box.accepted} connections through the box"

    return [
        ("TLS with a private root", connects("tls", "grpc")),
        ("wss with a private root", connects("wss", "websocket", "--transport", "websocket")),
        ("TLS with a root that nobody named", unknown_root),
        ("a middlebox strips ALPN, no option", without_alpn),
    ]
