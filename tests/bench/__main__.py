"""Measures clients against each other and writes what the documentation shows.

    python -m tests.bench [--size 4GiB] [--rounds 5] [--only NAMES] [--write]
    python -m tests.bench --draw

Clients take turns, round after round, so that a busy machine is unfair to all
alike; what is told are medians and ratios of medians. Each run is a process of
its own. ``--write`` puts tables and plots into docs/explanation/performance.md;
``--draw`` does so from the figures of last time, without measuring.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import plots, tables
from .native import build, sink
from .senders import SENDERS

MIB = 1024 * 1024
GIB = 1024 * MIB
#: Bytes that are sent while system calls are counted, which is slow.
COUNTED = 256 * MIB

# Calls that move bytes or wait until they can be moved.
_IO = frozenset(
    {
        *("read", "readv", "pread64", "preadv", "preadv2", "lseek"),
        *("write", "writev", "send", "sendto", "sendmsg", "sendfile", "splice"),
        *("recv", "recvfrom", "recvmsg", "poll", "ppoll", "select", "pselect6"),
        *("epoll_wait", "epoll_pwait", "epoll_pwait2", "epoll_ctl", "futex"),
    }
)


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)(MiB|GiB)?", text)
    if match is None:
        raise argparse.ArgumentTypeError("say it as 512MiB or 4GiB")
    return int(match[1]) * {"MiB": MIB, "GiB": GIB, None: 1}[match[2]]


def _python(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", f"tests.bench.{module}", *map(str, arguments)]


def _json(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no word"]
        return {"unavailable": f"failed: {lines[-1][:200]}"}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _calls(command: list[str], log: Path) -> int | None:
    """Return how many system calls for I/O *command* makes; None: cannot count."""
    if shutil.which("strace") is None:
        return None
    tracer = ["strace", "-f", "-qq", "-c", "-U", "name,calls", "-o", str(log)]
    if subprocess.run([*tracer, *command], capture_output=True).returncode:
        return None
    total = 0
    for line in log.read_text().splitlines():
        words = line.split()
        if len(words) == 2 and words[0] in _IO:
            total += int(words[1])
    return total


class Bench:
    """The files, programs and certificates of one run."""

    def __init__(self, directory: Path, size: int) -> None:
        self.directory = directory
        self.large, self.tiny = directory / "large.bin", directory / "tiny.bin"
        self.counted = directory / "counted.bin"
        block = os.urandom(MIB)
        with self.large.open("wb") as file:
            for _ in range(size // MIB):
                file.write(block)
        self.tiny.write_bytes(block[:65536])
        with self.counted.open("wb") as file:
            for _ in range(COUNTED // MIB):
                file.write(block)
        self.native = build("send", directory)
        self.sink = build("sink", directory)
        self.authority = directory / "authority.pem"
        self.certificate, self.key = directory / "cert.pem", directory / "key.pem"
        import trustme

        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        authority.cert_pem.write_to_path(str(self.authority))
        issued.cert_chain_pems[0].write_to_path(str(self.certificate))
        issued.private_key_pem.write_to_path(str(self.key))

    @contextlib.contextmanager
    def serving(self, *, tls: bool) -> Iterator[str]:
        """Run a sink and yield its URL."""
        pair = (self.certificate, self.key) if tls else (None, None)
        with sink(self.sink, *pair) as port:
            yield f"{'https' if tls else 'http'}://127.0.0.1:{port}/"

    def command(self, name: str, url: str, path: Path) -> list[str]:
        """Return the command that has a client send once."""
        authority = self.authority if url.startswith("https") else "-"
        native = [self.native] if self.native else []
        return _python("one", name, url, path, authority, *native)


def uploads(bench: Bench, names: list[str], rounds: int, *, tls: bool) -> Any:
    """Measure every client, turn by turn."""
    results: dict[str, Any] = {name: {"runs": []} for name in names}
    with bench.serving(tls=tls) as url:
        for turn in range(rounds):
            for name in names:
                if "unavailable" in results[name]:
                    continue
                run = _json(bench.command(name, url, bench.large))
                print(f"  {'tls' if tls else 'plain'} {turn + 1} {name}: {run}")
                if "unavailable" in run:
                    results[name]["unavailable"] = run["unavailable"]
                else:
                    results[name]["runs"].append(run)
        for name in names:
            log = bench.directory / "calls"
            many = _calls(bench.command(name, url, bench.counted), log)
            few = _calls(bench.command(name, url, bench.tiny), log)
            if many is not None and few is not None:
                results[name]["calls"] = (many - few) * GIB / COUNTED
    for result in results.values():
        runs = result.pop("runs")
        for figure in ("wall", "user", "system", "rss"):
            if runs:
                result[figure] = statistics.median(run[figure] for run in runs)
    return results


def others(bench: Bench, rounds: int, forms: int) -> dict[str, Any]:
    """Measure what large files don't show."""
    found: dict[str, Any] = {}
    with bench.serving(tls=False) as url:
        from .others import FORMS

        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in FORMS}
        for _ in range(rounds):
            for name in FORMS:
                runs[name].append(_json(_python("others", "forms", name, url, forms)))
        found["forms"] = {
            name: {
                figure: statistics.median(run[figure] for run in turns)
                for figure in ("cpu", "wall")
            }
            for name, turns in runs.items()
            if all("cpu" in run for run in turns)
        } | {name: turns[0] for name, turns in runs.items() if "cpu" not in turns[0]}
        found["resuming"] = _json(_python("others", "resuming", url, bench.large))
    found["planning"] = _json(_python("others", "planning", 1_000_000))
    found["cuts"] = [
        {"every": every, "delay": delay}
        | _json(_python("others", "cuts", 64 * MIB, every, delay))
        for every in (0, 4 * MIB, 16 * MIB)
        for delay in (0.0, 0.05, 0.2)
    ]
    return found


def _document(results: dict[str, Any]) -> None:
    tables.into_documentation(results)
    try:
        for path in plots.draw(results):
            print(path.name)
    except plots.Undrawable as exc:
        raise SystemExit(f"the tables are written, but {exc}") from None


def _command(arguments: argparse.Namespace) -> str:
    """Return the command that measures the same again."""
    said = [
        "python -m tests.bench",
        f"--size {arguments.size // MIB}MiB",
        f"--tls-size {arguments.tls_size // MIB}MiB",
        f"--rounds {arguments.rounds}",
        f"--forms {arguments.forms}",
        *([f"--only {arguments.only}"] if arguments.only else []),
        "--write",
    ]
    return " ".join(said)


def main() -> None:
    """Parse the arguments, measure, and show."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench")
    parser.add_argument("--size", type=_bytes, default=4 * GIB)
    parser.add_argument("--tls-size", type=_bytes, default=GIB)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--forms", type=int, default=10_000)
    parser.add_argument("--only", help="names of clients, with commas between them")
    parser.add_argument("--directory", type=Path, help="on a file system with room")
    parser.add_argument("--write", action="store_true", help="into the documentation")
    parser.add_argument("--draw", action="store_true", help="don't measure")
    arguments = parser.parse_args()
    if arguments.draw:
        _document(tables.committed())
        return
    names = arguments.only.split(",") if arguments.only else list(SENDERS)
    results: dict[str, Any] = {
        "machine": {
            "system": f"{platform.system()} {platform.release().partition('-')[0]}",
            "processors": os.cpu_count(),
            "python": platform.python_version(),
        },
        "command": _command(arguments),
        "rounds": arguments.rounds,
        "size": arguments.size,
        "tls-size": arguments.tls_size,
    }
    with tempfile.TemporaryDirectory(dir=arguments.directory) as directory:
        bench = Bench(Path(directory), arguments.size)
        results["plain"] = uploads(bench, names, arguments.rounds, tls=False)
        results["others"] = others(bench, arguments.rounds, arguments.forms)
        os.truncate(bench.large, arguments.tls_size)
        results["tls"] = uploads(bench, names, arguments.rounds, tls=True)
    print(tables.written(results))
    if arguments.write:
        _document(results)


main()
