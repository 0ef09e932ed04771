"""The demonstration: a large form through a link that is cut again and again.

Everything that a second run needs is in one directory: the receiver's files, the
file that is sent, the state of the upload, and the ports, which are part of its
address. It is removed when the form has arrived, and stays after a kill.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import random
import shlex
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import tenacity
from filelock import FileLock, Timeout

from ..console import spell_seconds, spell_size
from ..errors import StoreError
from ..performing import Outcome
from ..progress import Event
from ..protocols import Tus, UploadProtocol
from ..retry import RetryPolicy
from ..sender import ResumableUpload
from ..stores import open_store
from ..stores.directory import default_directory, make_private_directory
from ..testing import Delivery, Link, Receiver, RequestSeen, every
from .failures import DONE, FAILED
from .fields import Mistake
from .manner import Manner
from .running import Run

MIB = 1024 * 1024
_KEY = "demo"
_TITLE = "A file that got through"

#: Loopback needs no patience: bytes under way arrive at once, or never.
_RETRY = RetryPolicy(
    stop=tenacity.stop_after_delay(60), wait=tenacity.wait_fixed(0.02), settle=0.02
)


@dataclass(frozen=True, slots=True)
class Trial:
    """What is demonstrated, and what has come of it so far.

    *size* and *cut_every* are bytes. The counts are of all runs.
    """

    size: int = 64 * MIB
    cut_every: int = 4 * MIB
    protocol: str = "rufh"
    seed: int = 0
    port: int = 0
    runs: int = 0
    requests: int = 0
    cuts: int = 0
    repeated: int = 0
    seconds: float = 0.0


def demonstrated(
    run: Run,
    state: Path | None,
    *,
    size: int | None,
    cut_every: int | None,
    protocol: str | None,
    seed: int | None,
) -> int:
    """Run the demonstration, or go on with it; return the exit code.

    Raises:
        Mistake: an option cannot be used as given.
        StoreError: the directory cannot be used.
    """
    wanted = {
        name: value
        for name, value in {
            "size": size,
            "cut_every": cut_every,
            "protocol": protocol,
            "seed": seed,
        }.items()
        if value is not None
    }
    if size == 0 or cut_every == 0:
        raise Mistake("--size and --cut-every: must be more than 0 bytes")
    directory = (default_directory() if state is None else state) / "demo"
    try:
        make_private_directory(directory)
        lock = FileLock(directory.parent / "demo.lock", timeout=0)
        with lock:
            return _Demonstration(run, directory, wanted).performed()
    except Timeout:
        raise Mistake(
            "another demo is running; wait for it, or use another --state directory"
        ) from None
    except OSError as error:
        what = error.strerror or str(error)
        where = error.filename or directory
        raise StoreError(
            f"the demo cannot use {where}: {what}; {_ELSEWHERE}"
        ) from error


_ELSEWHERE = "choose another directory by --state"


class _Demonstration:
    """One run of the demonstration, in its directory."""

    def __init__(self, run: Run, directory: Path, wanted: dict[str, Any]) -> None:
        self._run, self._console = run, run.console
        self._directory = directory
        self._store = directory / "state"
        self._record = directory / "demo.json"
        self._trial = self._opened(wanted)

    def performed(self) -> int:
        """Send the form; return the exit code."""
        self._save(runs=self._trial.runs + 1)
        original = self._file()
        with contextlib.ExitStack() as stack:
            receiver, link = self._network(stack)

            def make(given: dict[str, Any]) -> ResumableUpload:
                return self._upload(link, original, given)

            count = _Count(self._trial, receiver, link)

            def on_event(event: Event) -> None:
                # Noted as it goes on: a kill leaves no time for it.
                if event.kind in ("created", "resumed"):
                    self._save(**count.changes(event.offset))

            self._introduce()
            code, outcome, _ = self._run.attempt(
                make,
                Manner(state=self._store),
                on_event=on_event,
                go_on=self._again,
            )
            if outcome is None:
                return code
            self._save(**count.changes(outcome.upload.offset))
            fine = self._told(original, receiver.deliveries[-1], outcome)
        open_store(self._store).close()
        shutil.rmtree(self._directory, ignore_errors=True)
        return DONE if fine else FAILED

    @property
    def _again(self) -> str:
        """The command that goes on."""
        if self._directory.parent == default_directory():
            return "poster demo"
        state = shlex.quote(str(self._directory.parent))
        return f"poster demo --state {state.replace('{', '{{').replace('}', '}}')}"

    def _opened(self, wanted: dict[str, Any]) -> Trial:
        """Return the trial that was begun here, or a new one in a clean directory."""
        try:
            begun = Trial(**json.loads(self._record.read_text("utf-8")))
        except (FileNotFoundError, ValueError, TypeError):
            begun = None
        if begun is not None and replace(begun, **wanted) == begun:
            return begun
        if begun is not None:
            self._console.say("the unfinished demo had other options: beginning anew")
        return self._cleared(Trial(**wanted))

    def _cleared(self, trial: Trial) -> Trial:
        open_store(self._store).close()
        shutil.rmtree(self._directory)
        make_private_directory(self._directory)
        return trial

    def _save(self, **changes: Any) -> None:
        self._trial = replace(self._trial, **changes)
        fresh = self._record.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self._trial)), "utf-8")
        os.replace(fresh, self._record)

    def _file(self) -> Path:
        """Return the file to send, made if it is not there."""
        path, size = self._directory / "film.bin", self._trial.size
        if path.exists():
            return path
        # The receiver's copy has no holes, and may arrive in full.
        needed, free = size + size // 8, shutil.disk_usage(self._directory).free
        if free < needed:
            raise Mistake(
                f"--size: {spell_size(needed)} are needed in {self._directory}, "
                f"{spell_size(free)} are free; {_ELSEWHERE}, or take a smaller size"
            )
        fresh = path.with_suffix(".new")
        with fresh.open("wb") as file:
            for offset in range(0, size, MIB):
                random_part = random.Random(f"{self._trial.seed} {offset}")
                file.seek(offset)
                file.write(random_part.randbytes(min(MIB // 16, size - offset)))
            file.truncate(size)
        os.replace(fresh, path)
        return path

    def _network(self, stack: contextlib.ExitStack) -> tuple[Receiver, Link]:
        """Return receiver and link, running, the link on the port it had before."""
        receiver = stack.enter_context(Receiver(self._directory / "received"))
        faults = every(self._trial.cut_every, seed=self._trial.seed + self._trial.runs)
        try:
            link = Link(receiver.port, faults, port=self._trial.port)
            stack.enter_context(link)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            # The upload resource's address has the port in it.
            self._console.say(
                f"port {self._trial.port} is in use meanwhile: beginning anew"
            )
            ResumableUpload(
                f"http://127.0.0.1:{self._trial.port}/", {}, key=_KEY, store=self._store
            ).forget()
            link = stack.enter_context(Link(receiver.port, faults))
        self._save(port=link.port)
        return receiver, link

    def _upload(
        self, link: Link, original: Path, given: dict[str, Any]
    ) -> ResumableUpload:
        trial = self._trial
        protocol: str | UploadProtocol = "auto"
        if trial.protocol == "tus":
            protocol = Tus(form="file")
        return ResumableUpload(
            f"{link.url}/{trial.protocol}",
            {"title": _TITLE, "film": original},
            key=_KEY,
            protocol=protocol,
            **(given | {"retry": _RETRY}),
        )

    def _introduce(self) -> None:
        trial = self._trial
        if trial.runs > 1:
            self._console.say(f"run {trial.runs}: going on where the last one stopped")
        self._console.say(
            f"a form with a file of {spell_size(trial.size)} goes to a receiver that "
            f"speaks {trial.protocol}, through a link that is cut about every "
            f"{spell_size(trial.cut_every)}"
        )
        self._console.say(
            "stop it with Ctrl-C, or kill it, and run it again: it goes on"
        )

    def _told(self, original: Path, delivery: Delivery, outcome: Outcome) -> bool:
        """Show what came of it; return whether what arrived is what was sent."""
        trial, console = self._trial, self._console
        sent, received = _sha256(original), _received(delivery, trial.protocol)
        fine = sent == received
        if console.as_json:
            console.emit(
                {
                    "event": "demo",
                    "bytes": outcome.upload.length,
                    "requests": trial.requests,
                    "cuts": trial.cuts,
                    "sent_twice": trial.repeated,
                    "runs": trial.runs,
                    "seconds": round(trial.seconds, 3),
                    "sha256_sent": sent,
                    "sha256_received": received,
                    "match": fine,
                }
            )
        elif not console.quiet:
            share = 100 * trial.repeated / trial.size
            console.table(
                ("", ""),
                [
                    ("bytes", f"{outcome.upload.length:,}"),
                    ("requests", f"{trial.requests:,}"),
                    ("cuts survived", f"{trial.cuts:,}"),
                    ("bytes sent twice", f"{trial.repeated:,} ({share:.1f} %)"),
                    ("runs", f"{trial.runs}"),
                    ("time", spell_seconds(trial.seconds)),
                    ("SHA-256 sent", sent),
                    ("SHA-256 received", received),
                    ("", "they match" if fine else "THEY DIFFER"),
                ],
            )
        if not fine:
            console.fail("the file that arrived is not the one that was sent")
        return fine


class _Count:
    """Counts what one run costs, on top of what earlier ones did.

    Bytes count as sent when they have crossed the link: what a cut leaves in
    this machine's buffers was never on its way.
    """

    def __init__(self, before: Trial, receiver: Receiver, link: Link) -> None:
        self._before, self._receiver, self._link = before, receiver, link
        self._began = time.monotonic()
        self._start: int | None = None

    def changes(self, offset: int) -> dict[str, Any]:
        """Return what to note now that the receiver has the bytes up to *offset*."""
        if self._start is None:
            self._start = offset
        before, requests = self._before, self._receiver.requests
        heads = sum(_head_length(request) for request in requests)
        repeated = self._link.up - heads - (offset - self._start)
        return {
            "requests": before.requests + len(requests),
            "cuts": before.cuts + self._link.cuts,
            "repeated": before.repeated + max(0, repeated),
            "seconds": before.seconds + time.monotonic() - self._began,
        }


def _head_length(request: RequestSeen) -> int:
    """Return the bytes of the request's head (RFC 9112, section 2.1)."""
    line = len(f"{request.method} {request.path} HTTP/1.1\r\n")
    fields = sum(len(f"{k}: {v}\r\n") for k, v in request.headers.items())
    return line + fields + 2


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _received(delivery: Delivery, protocol: str) -> str:
    """Return the SHA-256 of the file that arrived, read from the receiver's disk."""
    if protocol == "tus":
        return _sha256(delivery.file)
    return next(part.sha256 for part in delivery.parts if part.name == "film")
