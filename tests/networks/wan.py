"""A WAN in user space, between two network namespaces of its own: a program.

Kernels without netem can neither lose nor delay packets. Here they pass this
process, from the TUN device of one namespace to that of the other, and fare as
the weather says. The namespaces have no names: they end with whoever holds them,
so that nothing stays behind, however a test ends.

Each line of JSON on standard input sets the weather of both directions and is
answered by a line that tells the moment and what became of the packets so far.
The end of the input is the end of the program.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import json
import os
import random
import selectors
import socket
import struct
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

#: Where the data goes: to the server, or to the client.
Direction = Literal["up", "down"]

CLIENT: Final = "10.88.0.1"
SERVER: Final = "10.88.0.2"
DEVICE: Final = "wan0"

_NEW_NETWORK: Final = 0x40000000  # CLONE_NEWNET
_TUNSETIFF: Final = 0x400454CA
_TUN: Final = 0x0001 | 0x1000  # IFF_TUN | IFF_NO_PI
_TURN: Final = 64  # packets per turn

_LIBC: Final = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Weather:
    """What becomes of packets in one direction.

    *loss*, *duplicate*, *corrupt* and *reorder* are probabilities, *delay* and
    *jitter* (its standard deviation) seconds. *rate* is in bytes per second;
    what would wait behind more than *queue* bytes is dropped.
    """

    loss: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    reorder: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    rate: float | None = None
    queue: int = 64 * 1024


def enter(namespace: int) -> None:
    """Move the calling thread into the network *namespace*, a descriptor.

    Raises:
        OSError: it is none, or this is not allowed.
    """
    _checked(_LIBC.setns(namespace, _NEW_NETWORK))


def current() -> int:
    """Return a descriptor of the calling thread's network namespace."""
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _host(address: str) -> tuple[int, int]:
    """Make a namespace whose one way out is a TUN device; return both."""
    _checked(_LIBC.unshare(_NEW_NETWORK))
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _TUN))
    for command in (
        "link set lo up",
        f"addr add {address}/24 dev {DEVICE}",
        f"link set {DEVICE} up mtu 1500 txqueuelen 1000",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    ipv4 = Path("/proc/sys/net/ipv4")
    # bbr, a common default, hardly minds loss; and what one connection learned
    # of the network must not be the next one's.
    (ipv4 / "tcp_congestion_control").write_text("reno")
    (ipv4 / "tcp_no_metrics_save").write_text("1")
    return current(), tun


class _Packets:
    """The packets of one direction, on their way."""

    def __init__(self, source: int, destination: int, chance: random.Random) -> None:
        self.source, self.destination = source, destination
        self.weather = Weather()
        self.fates: Counter[str] = Counter()
        self.addresses: set[str] = set()
        self._chance = chance
        self._waiting: list[tuple[float, int, bytes]] = []
        self._free = 0.0  # when the line has sent what it took

    @property
    def due(self) -> float | None:
        """When the next packet arrives, on the monotonic clock."""
        return self._waiting[0][0] if self._waiting else None

    def take(self) -> None:
        """Take in what the sender has sent."""
        for _ in range(_TURN):
            try:
                packet = os.read(self.source, 65536)
            except OSError:  # nothing there, or the device is down
                return
            self._fare(packet)

    def deliver(self) -> None:
        """Hand over what has arrived by now."""
        now = time.monotonic()
        while self._waiting and self._waiting[0][0] <= now:
            _, _, packet = heapq.heappop(self._waiting)
            try:
                os.write(self.destination, packet)
                self.fates["passed"] += 1
            except OSError:
                self.fates["undeliverable"] += 1

    def _fare(self, packet: bytes) -> None:
        weather, now = self.weather, time.monotonic()
        self.fates["sent"] += 1
        self.fates["bytes"] += len(packet)
        if packet[0] >> 4 == 4:
            self.addresses.add(socket.inet_ntoa(packet[12:16]))
        if self._happens(weather.loss, "lost"):
            return
        arrival = now
        if weather.rate is not None:
            start = max(now, self._free)
            if (start - now) * weather.rate > weather.queue:
                self.fates["dropped"] += 1
                return
            arrival = self._free = start + len(packet) / weather.rate
        arrival += max(0.0, self._chance.gauss(weather.delay, weather.jitter))
        if self._happens(weather.reorder, "reordered"):
            arrival = now
        if self._happens(weather.corrupt, "corrupted"):
            spoiled = bytearray(packet)
            spoiled[self._chance.randrange(len(spoiled))] ^= 1
            packet = bytes(spoiled)
        for _ in range(1 + self._happens(weather.duplicate, "duplicated")):
            number = self.fates["queued"] = self.fates["queued"] + 1
            heapq.heappush(self._waiting, (arrival, number, packet))

    def _happens(self, probability: float, fate: str) -> bool:
        if not probability or self._chance.random() >= probability:
            return False
        self.fates[fate] += 1
        return True


def main() -> None:
    """Make the namespaces, say where they are, and pass packets until the end."""
    chance = random.Random(int(sys.argv[1]))
    home = current()
    client, client_tun = _host(CLIENT)
    server, server_tun = _host(SERVER)
    enter(home)
    ways: dict[Direction, _Packets] = {
        "up": _Packets(client_tun, server_tun, chance),
        "down": _Packets(server_tun, client_tun, chance),
    }
    _say({"client": client, "server": server})
    orders = b""
    with selectors.DefaultSelector() as selector:
        selector.register(0, selectors.EVENT_READ)
        for packets in ways.values():
            selector.register(packets.source, selectors.EVENT_READ, packets)
        while True:
            due = [way.due for way in ways.values() if way.due is not None]
            wait = max(0.0, min(due) - time.monotonic()) if due else None
            for key, _ in selector.select(wait):
                if key.data is not None:
                    key.data.take()
                    continue
                read = os.read(0, 65536)
                if not read:
                    return
                *lines, orders = (orders + read).split(b"\n")
                for line in lines:
                    for direction, weather in json.loads(line).items():
                        ways[direction].weather = Weather(**weather)
                    _say(_told(ways))
            for packets in ways.values():
                packets.deliver()


def _told(ways: dict[Direction, _Packets]) -> dict[str, Any]:
    told: dict[str, Any] = {"moment": time.monotonic()}
    for direction, packets in ways.items():
        fates = dict(packets.fates)
        told[direction] = {"fates": fates, "addresses": sorted(packets.addresses)}
    return told


def _say(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
