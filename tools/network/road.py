"""A road between agent and relay that is slow, cuts, or looks into TLS: byte streams, one thread, one event loop.

Read next: its uses in proxies.py and storm.py. It is no model of a network: packets are lost in cuts.py, by iptables.
"""

import asyncio
import contextlib
import random
import threading
import time

CHUNK_BYTES = 16 * 1024
QUEUED_CHUNKS = 64


class Road:
    """Listens on 127.0.0.1, in a namespace if one is given, and leads to `target`; without one it is a proxy that takes CONNECT.

    `delay` and `jitter` are seconds each way and may be changed while it runs. After `cut_after` seconds a connection is
    reset on both sides. `tls` is a pair of contexts, toward who comes and toward the target; neither offers ALPN.
    """

    def __init__(self, target=None, namespace=None, cut_after=None, tls=(None, None)):
        self.target, self.namespace, self.cut_after, self.tls = target, namespace, cut_after, tls
        self.delay = self.jitter = 0.0
        self.accepted = 0
        self.cuts = []  # when, by the wall clock

    def __enter__(self):
        ready = threading.Event()

        def run():
            with contextlib.suppress(asyncio.CancelledError):
                asyncio.run(self.serve(ready))

        work = (lambda: self.namespace.call(run)) if self.namespace else run
        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()
        if not ready.wait(10):
            raise RuntimeError("the road did not open")
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.task.cancel)
        self.thread.join(10)

    async def serve(self, ready):
        self.loop, self.task = asyncio.get_running_loop(), asyncio.current_task()
        connections = set()  # the loop itself keeps no task alive

        def come(reader, writer):
            connection = asyncio.create_task(self.carry(reader, writer))
            connections.add(connection)
            connection.add_done_callback(connections.discard)

        server = await asyncio.start_server(come, "127.0.0.1", 0, ssl=self.tls[0])
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        async with server:
            await server.serve_forever()

    async def carry(self, reader, writer):
        self.accepted += 1
        onward = None
        try:
            async with asyncio.timeout(self.cut_after):
                host, port = self.target or await asked_for(reader)
                onward_reader, onward = await asyncio.open_connection(host, port, ssl=self.tls[1])
                if self.target is None:
                    writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                await both(self.pump(reader, onward), self.pump(onward_reader, writer))
        except TimeoutError:
            self.cuts.append(time.time())
        except (OSError, asyncio.IncompleteReadError, ValueError):
            pass  # who comes, or the relay, has left
        finally:
            for end in [writer, onward]:
                if end:
                    end.transport.abort()

    async def pump(self, reader, writer):
        """Bytes in order, each chunk after its own delay, so that many may be on the way at once."""
        on_the_way = asyncio.Queue(QUEUED_CHUNKS)

        async def take():
            while chunk := await reader.read(CHUNK_BYTES):
                await on_the_way.put((time.monotonic() + self.delay + random.uniform(0, self.jitter), chunk))
            await on_the_way.put((0, b""))

        async def give():
            while True:
                due, chunk = await on_the_way.get()
                if (wait := due - time.monotonic()) > 0:
                    await asyncio.sleep(wait)
                if not chunk:
                    break
                writer.write(chunk)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
            else:
                writer.close()  # TLS ends both ways at once

        await both(take(), give())


async def both(*works):
    """Until both have ended, or one has failed, which ends the other."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def asked_for(reader):
    """Where a CONNECT leads."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    method, target, _ = head.split(" ", 2)
    if method != "CONNECT":
        raise ValueError(f"only CONNECT is taken: {method}")
    host, port = target.rsplit(":", 1)
    return host, int(port)
