"""Two hosts in network namespaces, a client's and a server's, with a WAN between.

The receiver listens on loopback, as ever: on loopback of the server's namespace,
where what comes in from the WAN is directed to. So its TCP reaches through the
WAN to the client, without anything between that would acknowledge for it.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from poster_resume.testing import Receiver

from .wan import DEVICE, SERVER, Weather, current, enter

#: The port under which the receiver is reached through the WAN.
PORT = 80

CLEAR = Weather()
DEAD = Weather(loss=1.0)


@functools.cache
def missing() -> str | None:
    """Say what this machine lacks for namespaces with a WAN; None: nothing."""
    if sys.platform != "linux":
        return "network namespaces are Linux'"
    if os.geteuid() != 0:
        return "network namespaces need root"
    for program, package in (("ip", "iproute2"), ("nft", "nftables")):
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian's {package})"
    try:
        with Wan() as wan, served(wan):
            return None
    except (OSError, subprocess.CalledProcessError, NotAllowed) as exc:
        return f"this machine forbids network namespaces ({exc})"


class NotAllowed(Exception):
    """The WAN could not be made; the message has its program's last words."""


@dataclass(frozen=True)
class Seen:
    """What the WAN has seen by *moment*, a monotonic time.

    *up* and *down* count packets by fate; *addresses* are those that the
    client has sent from.
    """

    moment: float
    up: dict[str, int]
    down: dict[str, int]
    addresses: frozenset[str]


class Wan:
    """The namespaces *client* and *server* (descriptors), and what is between.

    Raises:
        NotAllowed: on entering, this machine does not let us.
    """

    def __init__(self, seed: int = 1) -> None:
        self._seed = seed

    def __enter__(self) -> Self:
        self._program = subprocess.Popen(
            [sys.executable, "-m", "tests.networks.wan", str(self._seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        try:
            told = self._answer()
            inside = f"/proc/{self._program.pid}/fd"
            self.client = os.open(f"{inside}/{told['client']}", os.O_RDONLY)
            self.server = os.open(f"{inside}/{told['server']}", os.O_RDONLY)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self.client)
        os.close(self.server)
        self._end()

    def set(self, up: Weather, down: Weather | None = None) -> Seen:
        """Set the weather of both directions; it holds when this returns."""
        down = up if down is None else down
        return self._ordered({"up": asdict(up), "down": asdict(down)})

    def seen(self) -> Seen:
        """Tell what became of the packets so far."""
        return self._ordered({})

    def _ordered(self, order: dict[str, Any]) -> Seen:
        assert self._program.stdin is not None
        self._program.stdin.write(json.dumps(order).encode() + b"\n")
        self._program.stdin.flush()
        told = self._answer()
        up, down = told["up"], told["down"]
        addresses = frozenset(up["addresses"])
        return Seen(told["moment"], up["fates"], down["fates"], addresses)

    def _answer(self) -> dict[str, Any]:
        assert self._program.stdout is not None
        line = self._program.stdout.readline()
        if not line:
            assert self._program.stderr is not None
            said = self._program.stderr.read().decode(errors="replace").split("\n")
            raise NotAllowed("; ".join(said[-2:]).strip("; "))
        told: dict[str, Any] = json.loads(line)
        return told

    def _end(self) -> None:
        self._program.communicate()


@contextlib.contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Have this thread, and what it starts, in *namespace*."""
    home = current()
    try:
        enter(namespace)
        try:
            yield
        finally:
            enter(home)
    finally:
        os.close(home)


def run(namespace: int, *command: str) -> None:
    """Run *command* in *namespace*.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    with inside(namespace):
        subprocess.run(command, check=True, capture_output=True)


class Server:
    """A receiver in the server's namespace, and the firewall before it."""

    def __init__(self, receiver: Receiver, namespace: int) -> None:
        self.receiver, self._namespace = receiver, namespace

    url = f"http://{SERVER}:{PORT}"

    def drop_after(self, count: int) -> None:
        """Let *count* bytes through on each connection, then nothing."""
        self._rule("in", f"ct original bytes > {count} counter drop")

    def reset_after(self, count: int) -> None:
        """Reset each connection after *count* bytes; the server hears of nothing."""
        self._rule("in", f"ct original bytes > {count} counter reject with tcp reset")

    def lose_answers_after(self, count: int) -> None:
        """Lose whatever the server says on a connection after *count* bytes."""
        said = f"ct original bytes > {count} tcp flags & psh == psh counter drop"
        self._rule("out", said)

    def refuse(self) -> None:
        """Refuse new connections."""
        self._rule("in", "tcp flags & (syn | ack) == syn reject with tcp reset")

    def unreachable(self) -> None:
        """Say of new connections that there is no such host."""
        said = "tcp flags & (syn | ack) == syn reject with icmp type host-unreachable"
        self._rule("in", said)

    def forgive(self) -> None:
        """Take all of that back."""
        run(self._namespace, "nft", "flush table ip faults")

    def _rule(self, chain: str, rule: str) -> None:
        side = "dport" if chain == "in" else "sport"
        said = f"add rule ip faults {chain} tcp {side} {self.receiver.port} {rule}"
        run(self._namespace, "nft", said)


@contextlib.contextmanager
def served(wan: Wan, directory: Path | None = None) -> Iterator[Server]:
    """Yield a server behind *wan*."""
    receiver = Receiver(directory)
    with inside(wan.server):
        receiver.start()
    with contextlib.closing(receiver):
        with inside(wan.server):
            _direct(receiver.port)
        yield Server(receiver, wan.server)


def _direct(port: int) -> None:
    """Direct what comes in from the WAN to *port* of loopback; in this namespace."""
    sysctl = Path("/proc/sys/net")
    (sysctl / f"ipv4/conf/{DEVICE}/route_localnet").write_text("1")
    (sysctl / "netfilter/nf_conntrack_acct").write_text("1")
    # Reordered packets may look wrong to it, but are for TCP to judge.
    (sysctl / "netfilter/nf_conntrack_tcp_be_liberal").write_text("1")
    for rule in (
        "add table ip faults",
        "add chain ip faults in { type filter hook input priority 0; }",
        "add chain ip faults out { type filter hook output priority 0; }",
        "add table ip directed",
        "add chain ip directed pre { type nat hook prerouting priority -100; }",
        f"add rule ip directed pre tcp dport {PORT} dnat to 127.0.0.1:{port}",
    ):
        subprocess.run(["nft", rule], check=True, capture_output=True)
