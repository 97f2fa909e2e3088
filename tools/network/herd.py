"""Many real agents that lose their relay at once and come back: all of them, soon, and not all in the same moment."""

import statistics
import time

from parts import Agent, Caller, Home, Relay, Upstream, at, expect, wait_until

AWAY = 6.0  # seconds until the relay is there again
BACK_WITHIN = 10.0
SLOT = 0.1  # seconds, for what is told
# Waits have full jitter, and from the end of such a wait on a dead way is looked at every 2 s: even arrivals would be a
# quarter in any half second and half in any second. A relay that stands still for 0.4 s finds a fifth of all at its door
# beside those, and chance adds some. Agents that wait alike come all within the time that the relay needs to let them in.
MOST_WITHIN = {0.5: 0.6, 1.0: 0.85}  # seconds, wherever they begin: the share of all
MEMORY_EACH = 14 * 1024  # KiB that no other process shares, for a debug build
PLACE = "127.0.0.1"


def affordable(wanted):
    """As many agents as fit into half of the memory that is free."""
    with open("/proc/meminfo") as file:
        available = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable:"))
    return max(10, min(wanted, available // 2 // MEMORY_EACH))


def most_within(length, arrivals):
    """The most of these, in order, that any stretch of so many seconds holds."""
    first = most = 0
    for index, arrival in enumerate(arrivals):
        while arrival - arrivals[first] >= length:
            first += 1
        most = max(most, index + 1 - first)
    return most


def herd(binary, wanted, stack):
    count = affordable(wanted)
    home = stack.enter_context(Home(binary))
    upstream = stack.enter_context(Upstream())
    limit = ["--max-sessions-per-user", str(count)]
    relay = stack.enter_context(Relay(binary, home.data, more=limit)).ready()
    home.issue()
    url = f"http://{PLACE}:{relay.port}"
    agents = []
    # Left by the stack one after another, so all are told to end before the first is waited for.
    stack.callback(lambda: [agent.process.terminate() for agent in agents])
    for number in range(count):
        agent = Agent(binary, home.token_file, url, upstream.port, f"device-{number}")
        agents.append(stack.enter_context(agent))
    stack.callback(lambda: [agent.process.terminate() for agent in agents])
    wait_until("sessions", lambda: len(relay.lines("session opened")) >= count, within=60)

    relay.process.kill()
    relay.process.wait()
    time.sleep(AWAY)
    relay = stack.enter_context(Relay(binary, home.data, f"{PLACE}:{relay.port}", more=limit)).ready()
    ready = at(relay.lines("relay is ready")[0])
    wait_until("sessions", lambda: len(relay.lines("session opened")) >= count, within=3 * BACK_WITHIN)
    arrivals = sorted(at(line) - ready for line in relay.lines("session opened"))
    answer = Caller(home, PLACE, relay.port).chat(5, 10, f"device-{count - 1}")
    expect(answer.is_whole(5), answer.brief())

    slots = [0] * (int(arrivals[-1] / SLOT) + 1)
    for arrival in arrivals:
        slots[max(0, int(arrival / SLOT))] += 1
    spread = " ".join(str(slot) for slot in slots)
    middle = statistics.median(arrivals)
    said = f"{count} agents back, the first after {arrivals[0]:.2f} s, half after {middle:.2f} s, all after {arrivals[-1]:.2f} s; each {SLOT} s: {spread}"
    expect(len(arrivals) == count, f"some came twice: {said}")
    expect(arrivals[-1] <= BACK_WITHIN, f"too late: {said}")
    shares = {length: most_within(length, arrivals) / count for length in MOST_WITHIN}
    said += "".join(f"; {share:.0%} at most within {length} s" for length, share in shares.items())
    expect(all(share <= MOST_WITHIN[length] for length, share in shares.items()), f"not spread: {said}")
    return said


def scenarios(binary, wanted):
    return [("many agents and a restarted relay", lambda stack: herd(binary, wanted, stack))]
