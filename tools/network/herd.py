"""Many real agents that lose their relay at once and come back: all of them, soon, and not all in the same moment."""

import statistics
import time

from parts import Agent, Caller, Home, Relay, Upstream, at, expect, wait_until

AWAY = 6.0  # seconds until the relay is there again
BACK_WITHIN = 10.0
SLOT = 0.1  # seconds
# Waits have full jitter, and from the end of such a wait on a dead way is looked at every 2 s: even arrivals would be a
# twentieth in each slot, and half of them in the first second. A busy machine spreads them further.
MOST_IN_A_SLOT = 0.2
MOST_IN_FIRST_SECOND = 0.7
MEMORY_EACH = 14 * 1024  # KiB that no other process shares, for a debug build
PLACE = "127.0.0.1"


def affordable(wanted):
    """As many agents as fit into half of the memory that is free."""
    with open("/proc/meminfo") as file:
        available = next(int(line.split()[1]) for line in file if line.startswith("MemAvailable:"))
    return max(10, min(wanted, available // 2 // MEMORY_EACH))


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
    expect(max(slots) <= MOST_IN_A_SLOT * count, f"not spread: {said}")
    first_second = sum(arrival < 1 for arrival in arrivals) / count
    expect(first_second <= MOST_IN_FIRST_SECOND, f"{first_second:.0%} in the first second: {said}")
    return f"{said}; {first_second:.0%} in the first second, {max(slots) / count:.0%} at most in one slot"


def scenarios(binary, wanted):
    return [("many agents and a restarted relay", lambda stack: herd(binary, wanted, stack))]
