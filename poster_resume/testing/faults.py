"""What can go wrong on a connection, as plain data.

A link takes one item for each connection that it accepts: a fault, or several
that hold together. *up* is from client to server, *down* the other way; sizes
are bytes of whatever goes over the wire, heads included; times are seconds.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

Direction = Literal["up", "down"]

#: *rst* is what a broken link looks like; *fin* what a polite middleman sends.
How = Literal["rst", "fin"]


@dataclass(frozen=True, slots=True)
class Pass:
    """Nothing goes wrong."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The connection is reset as soon as it is there."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection is cut when exactly *after* bytes went in *direction*.

    With 0 it is cut when the first byte comes, and that one is not forwarded.
    """

    after: int = 0
    direction: Direction = "up"
    how: How = "rst"

    def __post_init__(self) -> None:
        _check(self.after >= 0, f"after: {self.after} is negative")


@dataclass(frozen=True, slots=True)
class Stall:
    """Once exactly *after* bytes went in *direction*, nothing goes either way.

    The connection stays open. It goes on after *seconds*; None: never.
    """

    after: int = 0
    direction: Direction = "up"
    seconds: float | None = None

    def __post_init__(self) -> None:
        _check(self.after >= 0, f"after: {self.after} is negative")


@dataclass(frozen=True, slots=True)
class Throttle:
    """At most *rate* bytes per second go in *direction*; None: in either."""

    rate: float
    direction: Direction | None = None

    def __post_init__(self) -> None:
        _check(self.rate > 0, f"rate: {self.rate} is not positive")


@dataclass(frozen=True, slots=True)
class Delay:
    """Everything arrives *seconds* late in *direction*; None: in either."""

    seconds: float
    direction: Direction | None = None

    def __post_init__(self) -> None:
        _check(self.seconds >= 0, f"seconds: {self.seconds} is negative")


@dataclass(frozen=True, slots=True)
class DropAnswer:
    """The request passes; the connection is cut when its final answer comes.

    Interim answers (1xx) pass too. Of several requests on a connection, the
    first one's answer is meant. Under TLS nobody can tell an answer: use
    ``Cut(after=..., direction="down")`` there.
    """

    how: How = "rst"


Fault: TypeAlias = Pass | Refuse | Cut | Stall | Throttle | Delay | DropAnswer

#: What happens to one connection.
Faults: TypeAlias = Fault | tuple[Fault, ...]


def every(
    size: int, *, direction: Direction = "up", how: How = "rst", seed: int | None = None
) -> Iterator[Faults]:
    """Cut every connection after *size* bytes; with *seed* after about as many.

    About means between half and one and a half times *size*.
    """
    if seed is None:
        yield from itertools.repeat(Cut(size, direction, how))
    source = random.Random(seed)
    while True:
        yield Cut(source.randint(size - size // 2, size + size // 2), direction, how)


def random_faults(
    seed: int, *, largest: int = 1024 * 1024, connections: int = 50
) -> Iterator[Faults]:
    """Yield the faults of *connections* connections, the same for the same *seed*.

    Every kind of fault occurs that lets a client go on at once: nothing
    stalls for ever. Cuts come after up to *largest* bytes, small numbers as
    likely as large ones. After that, everything passes.
    """
    source = random.Random(seed)
    for _ in range(connections):
        yield _random_fault(source, largest)


def _random_fault(source: random.Random, largest: int) -> Fault:
    # Even on a logarithmic scale: heads are as interesting as contents.
    after = int(2 ** source.uniform(0, max(largest, 1).bit_length())) - 1
    after = min(after, largest)
    direction: Direction = source.choice(("up", "up", "up", "down"))
    how: How = source.choice(("rst", "fin"))
    match source.randrange(10):
        case 0:
            return Pass()
        case 1:
            return Refuse()
        case 2:
            return DropAnswer(how)
        case 3:
            return Stall(after, direction, source.uniform(0, 0.05))
        case 4:
            return Delay(source.uniform(0, 0.02))
        case _:
            return Cut(after, direction, how)


def _check(fine: bool, message: str) -> None:
    if not fine:
        raise ValueError(message)
