"""Programs that run inside pods and on nodes, as text for `python3 -c`: they import nothing of ours."""

BACKEND = """
import asyncio, socket, sys

name, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

def words(address):
    return f"{name} {address[0]} {address[1]}".encode()

async def serve(reader, writer):
    writer.write(words(writer.get_extra_info("peername")))
    writer.close()

class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
    def datagram_received(self, data, address):
        self.transport.sendto(words(address), address)

async def main():
    loop = asyncio.get_running_loop()
    # Not the wildcard: in a node's own network that would take every ClusterIP.
    host = sys.argv[4]
    for port in range(first, first + count):
        await asyncio.start_server(serve, host, port)
        await loop.create_datagram_endpoint(Datagrams, local_addr=(host, port))
    print("serving", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
"""NAME FIRST COUNT HOST: says its name and the client's address on COUNT ports, TCP and UDP."""

PROBER = """
import asyncio, errno, json, socket, sys

LIMIT = 1.7  # seconds; an ICMP error may come only for the second SYN, a second after the first

async def tcp(host, port):
    reader, writer = await asyncio.open_connection(host, port)
    local = writer.get_extra_info("sockname")
    try:
        return (await reader.read(200)).decode(), local
    finally:
        writer.close()

async def udp(host, port):
    loop = asyncio.get_running_loop()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        sock.connect((host, port))
        local = sock.getsockname()
        for _ in range(3):
            sock.send(b"who?")
            try:
                return (await asyncio.wait_for(loop.sock_recv(sock, 200), 0.5)).decode(), local
            except TimeoutError:
                pass
        raise TimeoutError
    finally:
        sock.close()

async def once(target):
    call = tcp if target["protocol"] == "TCP" else udp
    try:
        said, local = await asyncio.wait_for(call(target["host"], target["port"]), LIMIT)
        return ["answered", said, local[1]]
    except ConnectionRefusedError:
        return ["refused"]
    except (TimeoutError, asyncio.TimeoutError):
        return ["timed out"]
    except OSError as error:
        if error.errno == errno.ETIMEDOUT:
            return ["timed out"]
        return [errno.errorcode.get(error.errno, str(error))]

async def all_of(target):
    found = []
    while len(found) < target["tries"] and (not found or found[-1][0] == "answered"):
        found.append(await once(target))
    return found

async def main():
    targets = json.load(sys.stdin)
    answers = await asyncio.gather(*(all_of(target) for target in targets))
    json.dump(answers, sys.stdout)

asyncio.run(main())
"""
"""Reads a list of {protocol, host, port, tries}, writes for each the list of what it met.

The first try that is not answered is the last one."""

WATCHER = """
import asyncio, errno, json, os, socket, sys, time

LIMIT = 1.0

async def tcp(host, port):
    reader, writer = await asyncio.open_connection(host, port)
    try:
        return (await reader.read(200)).decode()
    finally:
        writer.close()

async def udp(host, port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setblocking(False)
    try:
        sock.connect((host, port))
        sock.send(b"who?")
        return (await asyncio.get_running_loop().sock_recv(sock, 200)).decode()
    finally:
        sock.close()

async def watch(target, given, begun, all_begun):
    call = tcp if target["protocol"] == "TCP" else udp
    seen = {"answers": 0, "failures": [], "gap": 0.0, "names": []}
    started = last = time.monotonic()
    while not all_begun.is_set() or os.path.exists(given["mark"]):
        try:
            said = await asyncio.wait_for(call(target["host"], target["port"]), LIMIT)
            if not said:
                raise ConnectionResetError(errno.ECONNRESET, "closed without a word")
        except (OSError, asyncio.TimeoutError) as error:
            name = errno.errorcode.get(getattr(error, "errno", 0) or 0, type(error).__name__)
            seen["failures"].append(f"{time.monotonic() - started:.2f} s: {name}")
        else:
            now = time.monotonic()
            seen["answers"] += 1
            seen["gap"] = max(seen["gap"], now - last) if begun.is_set() else 0.0
            last = now
            seen["names"] = sorted({*seen["names"], said.split()[0]})
            begun.set()
        await asyncio.sleep(given["every"])
    seen["gap"] = max(seen["gap"], time.monotonic() - last)
    return seen

async def main():
    given = json.load(sys.stdin)
    begun, all_begun = [asyncio.Event() for _ in given["targets"]], asyncio.Event()
    tasks = [
        asyncio.create_task(watch(target, given, one, all_begun))
        for target, one in zip(given["targets"], begun)
    ]
    for one in begun:
        await one.wait()
    open(given["mark"], "w").close()
    all_begun.set()
    json.dump(await asyncio.gather(*tasks), sys.stdout)

asyncio.run(main())
"""
"""Reads targets, a file to mark the first answers with, and seconds between two requests; asks
until that file is gone, and writes for each target what it met."""
