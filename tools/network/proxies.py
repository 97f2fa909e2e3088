"""Real proxies between agent and relay, each with its configuration in tests/network. All on loopback."""

import contextlib
import getpass
import os
import pathlib
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import tempfile
import threading
import time

from parts import CONFIGURATIONS, Agent, Caller, Home, Later, Part, Relay, Skip, Upstream, at, certify, expect, require, wait_until
from product import free_port
from road import Road

USER, PASSWORD = "ada", "secret-of-the-proxy"
CONNECTED_WITHIN = 10.0  # seconds, whatever is blocked
CUT_AFTER, CUT_FOR = 10.0, 42.0
LINES = 40  # and a last one, over two seconds: a stall of one second still leaves
PIECES = 22  # which is more than lines held back two by two would be
NCSA = [pathlib.Path("/usr/lib/squid/basic_ncsa_auth"), pathlib.Path("/usr/libexec/squid/basic_ncsa_auth")]


class Proxy(Part):
    """A proxy whose configuration is filled in and lies in its own folder."""

    def __init__(self, name, command, configuration=None, owner=None, **values):
        self.port = free_port()
        self.prepared = pathlib.Path(tempfile.mkdtemp(prefix=f"c2l-{name}-"))
        self.prepared.chmod(0o755)
        values |= {"PORT": self.port, "FOLDER": self.prepared}
        if configuration:
            text = (CONFIGURATIONS / configuration).read_text()
            for key, value in values.items():
                text = text.replace(f"@{key}@", str(value))
            (self.prepared / configuration).write_text(text)
        self.prepare()
        if owner and os.geteuid() == 0:
            for file in [self.prepared, *self.prepared.iterdir()]:
                shutil.chown(file, owner)
        filled = {"configuration": self.prepared / (configuration or ""), "port": self.port, "folder": self.prepared}
        super().__init__(name, [str(part).format(**filled) for part in command])

    def prepare(self):
        pass

    def __enter__(self):
        try:
            self.wait_for("open port", lambda: is_open(self.port))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *arguments):
        super().__exit__(*arguments)
        shutil.rmtree(self.prepared, ignore_errors=True)

    def log(self):
        file = self.prepared / "access.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def said(self):
        return self.log() + self.stdout.read_text(errors="replace") + self.stderr.read_text(errors="replace")

    def output(self):
        files = [file for file in self.prepared.glob("*.log")]
        return "\n".join([super().output(), *(f"--- {file.name}\n{file.read_text(errors='replace')[-3000:]}" for file in files)])


def is_open(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


class Squid(Proxy):
    def __init__(self):
        require("squid", "openssl")
        helper = next((file for file in NCSA if file.exists()), None)
        if helper is None:
            raise Skip("squid's basic_ncsa_auth is not installed")
        command = ["squid", "-N", "-f", "{configuration}"]
        super().__init__("squid", command, "squid.conf", "proxy", BASIC_NCSA_AUTH=helper)

    def prepare(self):
        hashed = subprocess.run(["openssl", "passwd", "-apr1", PASSWORD], capture_output=True, text=True, check=True).stdout
        (self.prepared / "users").write_text(f"{USER}:{hashed}")
        (self.prepared / "hosts").write_text("127.0.0.1 relay.test forbidden.test\n")


class Tinyproxy(Proxy):
    def __init__(self):
        require("tinyproxy")
        super().__init__("tinyproxy", ["tinyproxy", "-d", "-c", "{configuration}"], "tinyproxy.conf")


class Dante(Proxy):
    def __init__(self):
        require("danted")
        super().__init__("danted", ["danted", "-f", "{configuration}"], "danted.conf", USER=getpass.getuser())


class Microsocks(Proxy):
    """Its configuration is its command line."""

    def __init__(self):
        require("microsocks")
        super().__init__("microsocks", ["microsocks", "-i", "127.0.0.1", "-p", "{port}", "-u", USER, "-P", PASSWORD])


class Nginx(Proxy):
    def __init__(self, relay_port):
        require("nginx", "openssl")
        self.tls_port = free_port()
        command = ["nginx", "-e", "stderr", "-p", "{folder}", "-c", "{configuration}"]
        super().__init__("nginx", command, "nginx.conf", TLS_PORT=self.tls_port, RELAY_PORT=relay_port)

    def prepare(self):
        certify(self.prepared)


class Portal(socketserver.ThreadingTCPServer):
    """A listener that answers every CONNECT as a hotel's network does before one has signed in."""

    daemon_threads = True

    def __init__(self):
        class Redirect(socketserver.StreamRequestHandler):
            def handle(self):
                while self.rfile.readline().strip():
                    pass
                page = b"<html><title>Welcome</title><body>Please <b>sign in</b> to the hotel's network</body></html>"
                head = "HTTP/1.1 302 Found\r\nlocation: http://portal.test/login\r\ncontent-type: text/html\r\n"
                self.wfile.write(f"{head}content-length: {len(page)}\r\nconnection: close\r\n\r\n".encode() + page)

        super().__init__(("127.0.0.1", 0), Redirect)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Bench:
    """One relay and one upstream, for every scenario; over TLS with a folder that `certify` has filled."""

    def __init__(self, binary, stack, certified=None):
        self.binary = binary
        self.home = stack.enter_context(Home(binary))
        self.upstream = stack.enter_context(Upstream())
        flags, tls = [], None
        if certified:
            flags = ["--tls-cert", certified / "relay.pem", "--tls-key", certified / "relay.key"]
            tls = ssl.create_default_context(cafile=certified / "root.pem")
        self.relay = stack.enter_context(Relay(binary, self.home.data, more=flags)).ready()
        self.url = f"{'https' if certified else 'http'}://127.0.0.1:{self.relay.port}"
        self.home.issue()
        self.caller = Caller(self.home, "127.0.0.1", self.relay.port, tls=tls)

    def agent(self, stack, device, *more, relay=None, **environment):
        agent = Agent(self.binary, self.home.token_file, relay or self.url, self.upstream.port, device, more=more, **environment)
        return stack.enter_context(agent)

    def streams(self, agent, device, way=None):
        """The agent is there in time, and an answer passes piece by piece, never through a proxy on its last hop."""
        opened = agent.line("session opened", within=CONNECTED_WITHIN)
        took = at(opened) - at(agent.lines("agent starting")[0])
        expect(way is None or f"way={way}" in opened, f"not by {way}: {opened}")
        answer = self.caller.chat(LINES, 50, device)
        expect(answer.is_whole(LINES), answer.brief())
        spread = answer.arrivals[-1] - answer.arrivals[0]
        expect(spread > 0.7 and len(answer.arrivals) >= PIECES, f"not piece by piece: {answer.arrivals}")
        seen = self.upstream.requests()
        foreign = [name for asked in seen for name in asked["fields"] if name == "via" or name.startswith(("proxy", "x-forwarded"))]
        expect(not foreign and all(asked["from"] == "127.0.0.1" for asked in seen), f"marks of a proxy at the upstream: {foreign}")
        expect(took <= CONNECTED_WITHIN, f"connected only after {took:.1f} s")
        how = re.search(r"way=(\w+)", opened)[1]
        return f"connected in {took:.2f} s by {how}, {len(answer.arrivals)} pieces over {spread:.1f} s"


def impatient(binary, stack):
    """A proxy that ends every connection after 10 s: the agent comes back each time, and whoever was served is told."""
    bench = Bench(binary, stack)
    proxy = stack.enter_context(Road(cut_after=CUT_AFTER))
    agent = bench.agent(stack, "cut", "--proxy", f"http://127.0.0.1:{proxy.port}")
    agent.line("session opened", within=CONNECTED_WITHIN)
    short, long = [], []
    until = time.monotonic() + CUT_FOR

    def ask(answers, lines):
        while time.monotonic() < until:
            answers.append(bench.caller.chat(lines, 50, "cut"))
            time.sleep(0.2)

    for asking in [Later(lambda: ask(short, 5)), Later(lambda: ask(long, 10_000))]:
        asking.outcome()
    hung = [answer.brief() for answer in short + long if not (answer.is_told() or answer in short and answer.is_whole(5))]
    expect(not hung, f"neither whole nor told: {hung}")
    torn = [answer for answer in long if answer.status == 200]
    whole = sum(answer.is_whole(5) for answer in short)
    gaps = []
    for number, cut in enumerate(proxy.cuts[:-1]):
        opened = next((at(line) for line in agent.sessions() if at(line) > cut), None)
        expect(opened is not None, f"no session after cut {number + 1}")
        most = 2**number  # seconds: the back-off doubles, as no session was healthy for a minute
        gaps.append(opened - cut)
        expect(gaps[-1] <= most + 3, f"{gaps[-1]:.1f} s after cut {number + 1}, where the back-off waits {most} s at most")
    said = f"cut {len(proxy.cuts)} times in {CUT_FOR} s; a session again after {', '.join(f'{gap:.1f}' for gap in gaps)} s"
    said += f"; {whole} of {len(short)} short requests whole, the others told; {len(torn)} running answers broken off, all told"
    expect(len(proxy.cuts) >= 3 and len(torn) >= 3, f"too few: {said}")
    expect(whole >= len(short) / 3, f"the agent was of little use: {said}")
    return said


def long_scenarios(binary):
    """Those that mostly wait, and are run beside others."""
    return [("a proxy that cuts after 10 s", lambda stack: impatient(binary, stack))]


def scenarios(binary, outer):
    bench = Bench(binary, outer)
    relay, upstream = bench.relay.port, bench.upstream.port

    def goes_only_to_relay(proxy, agent, relay_named):
        agent.stop()  # some write the line when the connection ends
        wait_until("relay in the proxy's log", lambda: relay_named in proxy.said(), proxy.said, CONNECTED_WITHIN)
        log = proxy.said()
        expect(not re.search(rf"127\.0\.0\.1[.:]{upstream}(?!\d)", log), f"the upstream is in the proxy's log:\n{log}")

    def through(make, scheme, device, user=f"{USER}:{PASSWORD}@", relay_named=str(relay)):
        def scenario(stack):
            proxy = stack.enter_context(make())
            agent = bench.agent(stack, device, "--proxy", f"{scheme}://{user}127.0.0.1:{proxy.port}")
            said = bench.streams(agent, device)
            goes_only_to_relay(proxy, agent, relay_named)
            expect(PASSWORD not in agent.stderr.read_text(), "the proxy's password is in the agent's log")
            return said

        return scenario

    def is_told(make, scheme, user, *words):
        def scenario(stack):
            proxy = stack.enter_context(make())
            port = proxy.port if isinstance(proxy, Proxy) else proxy.server_address[1]
            agent = bench.agent(stack, "refused", "--proxy", f"{scheme}://{user}127.0.0.1:{port}")
            line = agent.line("trying again", within=CONNECTED_WITHIN)
            missing = [word for word in words if word not in line]
            expect(not missing, f"{missing} not in: {line}")
            expect(not agent.sessions(), "a session all the same")
            told = re.search(r"setback=(.*?) wait=", line)
            return f'the log says "{told[1] if told else line}"'

        return scenario

    def by_environment(stack):
        proxy = stack.enter_context(Squid())
        url = f"http://{USER}:{PASSWORD}@127.0.0.1:{proxy.port}"
        named = f"http://relay.test:{relay}"
        agent = bench.agent(stack, "environment", "--allow-insecure", relay=named, HTTP_PROXY=url)
        said = bench.streams(agent, "environment")
        goes_only_to_relay(proxy, agent, f"relay.test:{relay}")
        return f"{said}, the name resolved by the proxy"

    def no_proxy(stack):
        proxy = stack.enter_context(Squid())
        url = f"http://{USER}:{PASSWORD}@127.0.0.1:{proxy.port}"
        # 0.0.0.0 is this machine, and no address that the agent leaves out by itself.
        agent = bench.agent(
            stack, "direct", "--allow-insecure", relay=f"http://0.0.0.0:{relay}", HTTP_PROXY=url, ALL_PROXY=url, NO_PROXY="example.test,0.0.0.0"
        )
        said = bench.streams(agent, "direct")
        agent.stop()
        expect("CONNECT" not in proxy.log(), f"the proxy was used:\n{proxy.log()}")
        return f"{said}, the proxy was not asked"

    def forbidden(stack):
        proxy = stack.enter_context(Squid())
        url = f"http://{USER}:{PASSWORD}@127.0.0.1:{proxy.port}"
        agent = bench.agent(stack, "refused", "--allow-insecure", "--proxy", url, relay=f"http://forbidden.test:{relay}")
        line = agent.line("the proxy answered: 403", within=CONNECTED_WITHIN)
        return f'the log says "{re.search(r"the proxy answered: 403[^:]*", line)[0]}"'

    def behind_nginx(is_tls):
        def scenario(stack):
            nginx = stack.enter_context(Nginx(relay))
            device = "behind-nginx-tls" if is_tls else "behind-nginx"
            if is_tls:
                roots = ["--ca-file", nginx.prepared / "root.pem"]
                agent = bench.agent(stack, device, *roots, relay=f"https://127.0.0.1:{nginx.tls_port}")
            else:
                agent = bench.agent(stack, device, relay=f"http://127.0.0.1:{nginx.port}")
            said = bench.streams(agent, device, way="websocket")
            # The caller comes through nginx as well.
            answer = Caller(bench.home, "127.0.0.1", nginx.port).chat(10, 20, device)
            expect(answer.is_whole(10), answer.brief())
            return said

        return scenario

    return [
        ("squid, CONNECT with a password", through(Squid, "http", "squid")),
        ("squid, wrong password", is_told(Squid, "http", f"{USER}:wrong@", "the proxy answered: 407 it does not take")),
        ("squid, no password", is_told(Squid, "http", "", "the proxy answered: 407 it wants")),
        ("squid, forbidden", forbidden),
        ("squid, named by HTTP_PROXY", by_environment),
        ("NO_PROXY names the relay", no_proxy),
        ("tinyproxy, CONNECT with a password", through(Tinyproxy, "http", "tinyproxy")),
        ("tinyproxy, no password", is_told(Tinyproxy, "http", "", "the proxy answered: 407 it wants")),
        ("tinyproxy, wrong password", is_told(Tinyproxy, "http", f"{USER}:wrong@", "the proxy answered: 401 it does not take")),
        ("dante, SOCKS5 without a password", through(Dante, "socks5", "dante", user="")),
        ("microsocks, SOCKS5 with a password", through(Microsocks, "socks5", "microsocks")),
        ("microsocks, wrong password", is_told(Microsocks, "socks5", f"{USER}:wrong@", "the proxy answered")),
        ("nginx with HTTP/1.1 alone, in clear, no option", behind_nginx(False)),
        ("nginx with HTTP/1.1 alone, TLS, no option", behind_nginx(True)),
        ("a page to sign in answers CONNECT", is_told(Portal, "http", "", "the proxy answered: 302", "redirects", "sign in")),
    ]
