"""Networks that fail: relay and agent each in a namespace of its own, a cable between them, all scenarios at once.

Nothing here needs netem: packets are dropped by iptables on the side that would receive them, silently, as on a real path.
Heartbeats have their default of 10 s, so a dead path is noticed within 20 s.
"""

import os
import shutil
import signal
import statistics
import sys
import time

from parts import HERE, Agent, Caller, Home, Later, Namespace, Part, Relay, Upstream, at, expect, join, wait_until
from road import Road

RELAY_ADDRESS = "10.77.0.1"
NOTICED_WITHIN = 20.0  # seconds: two heartbeats
MARGIN = 2.0
AT_ONCE = 3.0  # what is told without a wait takes milliseconds, and what waits for a dead path several times as long as this
BACK_WITHIN = 5.0
BACK_AFTER_A_MINUTE = 3.0
ANSWERED_WITHIN = 30.0


def not_permitted():
    """Why there can be no namespaces, or nothing."""
    if os.geteuid() != 0:
        return "not root"
    for command in ["ip", "iptables", "sysctl"]:
        if not shutil.which(command):
            return f"{command} is not installed"
    try:
        with Namespace("probe-a") as one, Namespace("probe-b") as other:
            join(one, "10.77.0.1/24", other, "10.77.0.2/24")
            one.iptables("-I", "INPUT", "-i", "eth0", "-m", "statistic", "--mode", "random", "--probability", "0.5", "-j", "DROP")
    except (RuntimeError, OSError) as error:
        return str(error)
    return ""


class Network:
    """Relay, cable, agent and upstream, with an agent connected. In the middle a router, or a road with a delay, if asked for."""

    def __init__(self, binary, stack, has_router=False, delay=None):
        self.binary, self.stack = binary, stack
        enter = stack.enter_context
        self.relay_side, self.agent_side = enter(Namespace("relay")), enter(Namespace("agent"))
        if has_router:
            self.router = enter(Namespace("router"))
            join(self.relay_side, f"{RELAY_ADDRESS}/24", self.router, "10.77.0.2/24", ("eth0", "out0"))
            join(self.agent_side, "10.78.0.1/24", self.router, "10.78.0.2/24", ("eth0", "in0"))
            self.agent_side.run("ip", "route", "add", "default", "via", "10.78.0.2")
            self.masquerade()
        else:
            join(self.relay_side, f"{RELAY_ADDRESS}/24", self.agent_side, "10.77.0.2/24")
        self.home = enter(Home(binary))
        self.upstream = enter(Upstream(self.agent_side))
        self.relay = self.start_relay()
        self.home.issue()
        url = f"http://{RELAY_ADDRESS}:{self.relay.port}"
        if delay:
            road = enter(Road((RELAY_ADDRESS, self.relay.port), self.agent_side))
            road.delay, road.jitter = delay
            url = f"http://127.0.0.1:{road.port}"
        more = ["--allow-insecure"]
        self.agent = enter(Agent(binary, self.home.token_file, url, self.upstream.port, namespace=self.agent_side, more=more))
        self.agent.line("session opened")
        self.caller = Caller(self.home, RELAY_ADDRESS, self.relay.port, self.relay_side)
        wait_until("first answer", lambda: self.caller.tags().status == 200)

    def start_relay(self, port=8080):
        listen = f"{RELAY_ADDRESS}:{port}"
        return self.stack.enter_context(Relay(self.binary, self.home.data, listen, self.relay_side)).ready()

    def masquerade(self):
        """A home router: it forwards what it knows and what begins, and says nothing to the rest."""
        router = self.router
        router.sysctl("net.ipv4.ip_forward", 1)
        router.sysctl("net.netfilter.nf_conntrack_tcp_loose", 0)
        router.iptables("-t", "nat", "-A", "POSTROUTING", "-o", "out0", "-j", "MASQUERADE")
        router.iptables("-P", "FORWARD", "DROP")
        router.iptables("-A", "FORWARD", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT")
        router.iptables("-A", "FORWARD", "-i", "in0", "-p", "tcp", "--syn", "-j", "ACCEPT")
        router.iptables("-P", "INPUT", "DROP")

    def drop(self, sides, *match):
        """Drop what arrives on these sides; the result takes it back."""
        for side in sides:
            side.iptables("-I", "INPUT", "-i", "eth0", *match, "-j", "DROP")

        def restore():
            for side in sides:
                side.iptables("-D", "INPUT", "-i", "eth0", *match, "-j", "DROP")

        return restore

    def both(self):
        return [self.relay_side, self.agent_side]

    def back(self, within=BACK_WITHIN):
        """Seconds to the first good answer from now on, at most so many."""
        seconds = self.caller.back(time.monotonic())
        expect(seconds <= within, f"back only after {seconds:.2f} s")
        return seconds

    def noticed(self, program, part, since, within=NOTICED_WITHIN + MARGIN):
        """Seconds from `since` (wall clock) to a line of the log that has this in it."""

        def line():
            lines = [line for line in program.lines(part) if at(line) >= since]
            return lines[0] if lines else None

        found = wait_until(f"{part!r} from {program.name}", line, within=within - (time.time() - since) + MARGIN)
        seconds = at(found) - since
        expect(seconds <= within, f"{program.name} noticed only after {seconds:.1f} s")
        return seconds

    def sessions(self, all_by_grpc=True):
        """How many there were. Nothing here blocks HTTP/2, so none may have been taken for that."""
        opened = self.agent.sessions()
        expect(not all_by_grpc or all("way=grpc" in line for line in opened), f"not by grpc: {opened}")
        return f"{len(opened)} session{'s' if len(opened) > 1 else ''}"

    def dropped(self):
        """How many packets the rules of `drop` have taken."""
        count = 0
        for side in self.both():
            rules = side.run("iptables", "-w", "10", "-L", "INPUT", "-v", "-x", "-n").splitlines()
            count += sum(int(rule.split()[0]) for rule in rules if " DROP " in rule and "policy" not in rule)
        return count


def told_in_time(answer, within):
    expect(answer.seconds <= within, f"told too late: {answer.brief()}")
    expect(answer.is_told(), f"not told: {answer.brief()}")
    return answer.seconds


class Running:
    """An answer of so many lines, ten a second, that has been under way for a second or more."""

    def __init__(self, network, lines=1_000):
        self.began, self.lines = time.monotonic(), lines
        self.asked = Later(lambda: network.caller.chat(lines, 100))
        time.sleep(1)

    def whole(self):
        answer = self.asked.outcome()
        expect(answer.is_whole(self.lines), f"a running answer: {answer.brief()}")

    def broken_off(self, cut):
        """Seconds from `cut` (monotonic) until its caller was told, which must have been in time."""
        before = cut - self.began
        return told_in_time(self.asked.outcome(), before + NOTICED_WITHIN + MARGIN) - before


def cable(length):
    """Pulled and put back: DROP both ways, so nobody is told anything."""

    def scenario(binary, stack):
        network = Network(binary, stack)
        is_noticed = length > NOTICED_WITHIN + MARGIN
        streaming = Running(network, 1_000 if is_noticed else 80)
        before = time.monotonic()
        restore = network.drop(network.both())
        pulled = time.monotonic()
        time.sleep(0.5)
        meanwhile = Later(lambda: network.caller.chat(2, 10))
        later = None
        while (rest := length - (time.monotonic() - pulled)) > 0:
            time.sleep(min(rest, 1))
            if later is None and time.monotonic() - pulled > NOTICED_WITHIN + MARGIN:
                later = Later(network.caller.tags)
        expect(network.dropped(), "nothing was dropped")
        restore()
        # TCP doubles its waits: what it sends again after a short cut may be as late as the cut was long.
        within = BACK_WITHIN if is_noticed else max(BACK_WITHIN, time.monotonic() - before + MARGIN)
        seconds = network.back(BACK_AFTER_A_MINUTE if length >= 60 else within)
        answered = meanwhile.outcome()
        expect(answered.seconds <= ANSWERED_WITHIN + 1, f"a request during the cut: {answered.brief()}")
        expect(answered.is_whole(2) or answered.is_told(), f"a request during the cut: {answered.brief()}")
        said = f"back after {seconds:.2f} s; a request during the cut: {answered.status} after {answered.seconds:.1f} s"
        if is_noticed:
            said += f"; a running answer was broken off after {streaming.broken_off(pulled):.1f} s"
        else:
            streaming.whole()
            said += "; a running answer went on and is whole"
        if later is not None:
            offline = later.outcome()
            expect(offline.status == 503 and offline.seconds < AT_ONCE or offline.status == 200, offline.brief())
            said += f"; once noticed: {offline.status} after {offline.seconds * 1000:.0f} ms"
        return f"{said}; {network.sessions()}"

    return scenario


def half_open(side):
    """One direction gone; both sides notice all the same."""

    def scenario(binary, stack):
        network = Network(binary, stack)
        streaming = Running(network)
        restore = network.drop([getattr(network, side)])
        cut, pulled = time.time(), time.monotonic()
        asked = Later(lambda: network.caller.chat(2, 10))
        relay = network.noticed(network.relay, "session closed", cut)
        agent = network.noticed(network.agent, "no session, trying again", cut)
        answered = asked.outcome()
        expect(answered.is_whole(2) or answered.is_told(), answered.brief())
        expect(answered.seconds <= ANSWERED_WITHIN, answered.brief())
        running = streaming.broken_off(pulled)
        expect(network.dropped(), "nothing was dropped")
        restore()
        seconds = network.back()
        return (
            f"the relay noticed after {relay:.1f} s, the agent after {agent:.1f} s; a running answer was broken off after {running:.1f} s, "
            f"a new request was answered after {answered.seconds:.1f} s; back after {seconds:.2f} s; {network.sessions()}"
        )

    return scenario


def forgotten(binary, stack):
    """A router that forgets the flow: heartbeats keep it in mind for 15 s, and not for 3 s."""
    network = Network(binary, stack, has_router=True)
    established = "net.netfilter.nf_conntrack_tcp_timeout_established"
    network.router.sysctl(established, 15)
    time.sleep(32)
    expect(len(network.agent.sessions()) == 1, "the heartbeats did not keep the flow in mind")
    expect(network.caller.tags().status == 200, "no answer over a flow that is kept in mind")
    network.router.sysctl(established, 3)
    forgets = time.time()
    # The next packet still belongs to the flow, and 3 s later it is forgotten.
    network.caller.tags()
    time.sleep(5)
    asked = Later(network.caller.tags)
    within = 10 + NOTICED_WITHIN + MARGIN
    relay = network.noticed(network.relay, "session closed", forgets, within)
    agent = network.noticed(network.agent, "no session, trying again", forgets, within)
    network.router.sysctl(established, 600)
    seconds = network.back()
    answered = asked.outcome()
    expect(answered.is_told() or answered.status == 200, answered.brief())
    expect(answered.seconds <= ANSWERED_WITHIN, answered.brief())
    return (
        f"kept in mind for 32 s of a 15 s limit; forgotten: the relay noticed after {relay:.1f} s, the agent after {agent:.1f} s, "
        f"a request was answered with {answered.status} after {answered.seconds:.1f} s; back after {seconds:.2f} s; {network.sessions()}"
    )


def link_down(binary, stack):
    """The interface goes and comes back, as when a cable is plugged in anew or a WLAN is left."""
    network = Network(binary, stack)
    network.agent_side.run("ip", "link", "set", "eth0", "down")
    time.sleep(24)
    offline = network.caller.tags()
    expect(offline.status == 503 and offline.seconds < AT_ONCE, offline.brief())
    network.agent_side.run("ip", "link", "set", "eth0", "up")
    seconds = network.back()
    return f"down for 24 s, meanwhile {offline.status}; back after {seconds:.2f} s; {network.sessions()}"


def dead_name_server(binary, stack):
    """The name server that stands first says nothing. The system asks the second after 5 s, longer than an attempt lasts."""
    network = Network(binary, stack)
    side = network.agent_side
    side.iptables("-A", "INPUT", "-d", "127.0.0.9", "-j", "DROP")
    stack.enter_context(Part("nameserver", [sys.executable, "-B", HERE / "nameserver.py", RELAY_ADDRESS], side)).line("bound")
    resolver = network.home.data / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.9\nnameserver 127.0.0.1\n")
    # `ip netns exec` has mounts of its own, so nobody else sees this one.
    before = ["sh", "-c", f'mount --bind {resolver} /etc/resolv.conf && exec "$@"', "sh"]
    url = f"http://relay.test:{network.relay.port}"
    more = ["--allow-insecure"]
    agent = Agent(binary, network.home.token_file, url, network.upstream.port, "named", side, more, before)
    stack.enter_context(agent)
    opened = agent.line("session opened", within=15)
    expect("way=grpc" in opened, opened)
    seconds = at(opened) - at(agent.lines("agent starting")[0])
    expect(network.caller.tags("named").status == 200, "no answer")
    return f"connected after {seconds:.1f} s"


def loss(share, within, each=5, delay=None, may_be_told=0):
    """Packets lost at random, each way, perhaps on a slow road; ten callers, who ask so many times each.

    So many answers need not be whole if their callers are told. At 20 % more than one round trip in three fails, so that TCP is
    now and then silent for longer than two heartbeats: then the tunnel ends, rightly, and at most one answer of each caller.
    """

    def scenario(binary, stack):
        network = Network(binary, stack, delay=delay)
        network.drop(network.both(), "-m", "statistic", "--mode", "random", "--probability", str(share))
        began, answers, wanted = time.monotonic(), [], 10 * each

        def serves():
            time.sleep(1)
            return network.caller.tags().status == 200

        def ask():
            asked = []
            for _ in range(each):
                asked.append(network.caller.chat(20, 10))
                if may_be_told and asked[-1].is_told():  # whoever asks at once again is told the same
                    wait_until("a tunnel again", serves, within=within)
            return asked

        for asked in [Later(ask) for _ in range(10)]:
            answers += asked.outcome(within)
        whole = [answer for answer in answers if answer.is_whole(20)]
        others = [answer for answer in answers if not answer.is_whole(20)]
        bad = [answer.brief() for answer in others]
        expect(len(others) <= may_be_told, f"{len(whole)} of {wanted} are whole; the others: {bad}")
        expect(all(answer.is_told() for answer in others), f"neither whole nor told: {bad}")
        seconds = sorted(answer.seconds for answer in answers)
        return (
            f"{len(whole)} of {wanted} whole in {time.monotonic() - began:.0f} s, each {statistics.median(seconds):.2f} s in the middle "
            f"and {seconds[-1]:.1f} s at most; {network.dropped()} packets lost; {network.sessions(all_by_grpc=not others)}"
        )

    return scenario


def stopped(binary, stack):
    """The agent's process stands still for a minute, as a machine that sleeps."""
    network = Network(binary, stack)
    streaming = Running(network)
    began = time.monotonic()
    os.kill(network.agent.process.pid, signal.SIGSTOP)
    try:
        asked = Later(network.caller.tags)
        time.sleep(24)
        offline = network.caller.tags()
        expect(offline.status == 503 and offline.seconds < AT_ONCE, offline.brief())
        time.sleep(max(0, 60 - (time.monotonic() - began)))
    finally:
        os.kill(network.agent.process.pid, signal.SIGCONT)
    seconds = network.back()
    answered = told_in_time(asked.outcome(), ANSWERED_WITHIN)
    running = streaming.broken_off(began)
    return (
        f"a running answer was broken off after {running:.1f} s, a new request was told after {answered:.1f} s, then {offline.status} at once; "
        f"a working session {seconds:.2f} s after waking; {network.sessions()}"
    )


def killed(binary, stack):
    """The relay is killed under load and started anew at the same address."""
    network = Network(binary, stack)
    running = [Later(lambda: network.caller.chat(1_000, 50)) for _ in range(20)]
    wait_until("load", lambda: network.upstream.active() == 20)
    network.relay.process.kill()
    gone = time.monotonic()
    network.relay.process.wait()
    wait_until("end of what the upstream was doing", lambda: network.upstream.active() == 0, within=3)
    left = time.monotonic() - gone
    answers = [asked.outcome() for asked in running]
    for answer in answers:
        expect(answer.is_told() and not answer.is_whole(1_000), f"not told: {answer.brief()}")
    told = max(answer.seconds for answer in answers)
    time.sleep(max(0, 5 - (time.monotonic() - gone)))
    network.relay = network.start_relay()
    seconds = network.back()
    whole = network.caller.chat(10, 10)
    expect(whole.is_whole(10), whole.brief())
    return (
        f"20 callers were told within {told:.1f} s of asking, the upstream was left after {left:.2f} s; "
        f"back {seconds:.2f} s after the restart; {network.sessions()}"
    )


def scenarios(binary):
    def bound(scenario):
        return lambda stack: scenario(binary, stack)

    named = [
        ("cable pulled for 5 s", cable(5)),
        ("cable pulled for 25 s", cable(25)),
        ("cable pulled for 60 s", cable(60)),
        ("half-open, nothing reaches the relay", half_open("relay_side")),
        ("half-open, nothing reaches the agent", half_open("agent_side")),
        ("TUN-07, a router forgets the flow", forgotten),
        ("link down and up", link_down),
        ("the first name server is dead", dead_name_server),
        ("1 % loss each way", loss(0.01, 60)),
        ("5 % loss each way", loss(0.05, 60)),
        ("TUN-08, 5 % loss, 100 ms delay with 50 ms of jitter, 500 requests", loss(0.05, 120, each=50, delay=(0.1, 0.05))),
        ("20 % loss each way", loss(0.2, 150, may_be_told=15)),
        ("TUN-06, agent stopped for 60 s", stopped),
        ("relay killed and restarted under load", killed),
    ]
    return [(name, bound(scenario)) for name, scenario in named]
