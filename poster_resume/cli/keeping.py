"""The uploads that are kept: list them, go on with them, give them up."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from ..console import Console, spell_seconds, spell_size
from ..errors import UploadBusy, UploadError, origin_of
from ..sender import ResumableUpload
from ..stores import open_store
from .failures import DONE
from .fields import Mistake
from .manner import Manner
from .running import Run

if TYPE_CHECKING:
    from ..facade import StoreArgument
    from ..opening import Assumption
    from ..upload import Upload


def listed(console: Console, store: StoreArgument) -> int:
    """Show every upload that *store* keeps; return the exit code."""
    kept = list(open_store(store).list())
    if console.as_json:
        for upload in kept:
            console.emit(_record(upload))
        return DONE
    if not kept:
        console.say("nothing is kept")
        return DONE
    now = time.time()
    console.records(
        ("ID", "STATE", "DONE", "OF", "TARGET", "LAST"),
        [
            (
                upload.id,
                _state(upload),
                _share(upload),
                "?" if upload.length is None else spell_size(upload.length),
                shown_target(upload.target),
                f"{spell_seconds(max(0, now - upload.updated))} ago",
            )
            for upload in kept
        ],
        right=("DONE", "OF"),
    )
    return DONE


def found(beginning: str, store: StoreArgument) -> Upload:
    """Return the one upload whose id is *beginning*, or begins with it.

    Raises:
        Mistake: there is none, or several.
    """
    kept = list(open_store(store).list())
    fitting = [upload for upload in kept if upload.id == beginning]
    fitting = fitting or [each for each in kept if each.id.startswith(beginning)]
    if len(fitting) == 1 and beginning:
        return fitting[0]
    if not fitting:
        raise Mistake(
            f"nothing is kept under {beginning!r}; `poster list` shows what is"
        )
    raise Mistake(f"{beginning!r} begins {len(fitting)} ids; give more of it")


def resumed(
    run: Run,
    manner: Manner,
    wanted: Upload | None,
    *,
    assume: Assumption | None = None,
) -> int:
    """Go on with *wanted*, None for all that are not done; return the exit code.

    Of several, the first that failed says what the code is.
    """
    if wanted is not None:
        return _resumed(run, manner, wanted, assume)
    kept = [
        upload
        for upload in open_store(manner.store).list()
        if not (upload.complete and upload.delivered)
    ]
    if not kept:
        run.console.say("nothing to go on with")
        return DONE
    _check_origins(manner, kept)
    first = DONE
    for upload in kept:
        run.console.say(f"{upload.id}: {shown_target(upload.target)}")
        code = _resumed(run, manner, upload, None)
        first = first or code
        if run.interrupted:
            return code
    return first


def cancelled(run: Run, manner: Manner, beginning: str) -> int:
    """Remove an upload from its server and forget it; return the exit code."""
    upload = found(beginning, manner.store)
    with manner.arguments() as given:
        loaded = ResumableUpload.load(upload.id, **given)
        try:
            with run.pausing(loaded.pause):
                loaded.cancel()
        except UploadError as error:
            code = run.failed(error, manner, loaded, go_on=f"poster cancel {upload.id}")
            if not isinstance(error, UploadBusy):
                run.console.hint(f"to forget it only here: poster forget {upload.id}")
            return code
    return _told(run.console, "cancelled", upload)


def forgotten(run: Run, manner: Manner, beginning: str) -> int:
    """Forget an upload here; return the exit code."""
    upload = found(beginning, manner.store)
    ResumableUpload.load(upload.id, store=manner.store).forget()
    return _told(run.console, "forgotten", upload)


def shown_target(target: str) -> str:
    """Return *target* without its query, which may hold a signature."""
    return urlunsplit(urlsplit(target)._replace(query="", fragment=""))


def _resumed(
    run: Run, manner: Manner, upload: Upload, assume: Assumption | None
) -> int:
    def make(given: dict[str, Any]) -> ResumableUpload:
        return ResumableUpload.load(upload.id, **given)

    return run.send(make, manner, assume=assume)


def _check_origins(manner: Manner, kept: Sequence[Upload]) -> None:
    origins = sorted({origin_of(upload.target) for upload in kept})
    if manner.has_credentials and len(origins) > 1:
        raise Mistake(
            f"--all: the uploads go to {len(origins)} servers ({', '.join(origins)}), "
            "and -H and --user would go to each of them; resume them one by one"
        )


def _told(console: Console, what: str, upload: Upload) -> int:
    if console.as_json:
        console.emit({"event": what, "id": upload.id})
    console.say(f"{what}: {upload.id}")
    return DONE


def _state(upload: Upload) -> str:
    if upload.complete and upload.result is not None and upload.result.status_code:
        status = upload.result.status_code
        return f"{'rejected' if status >= 400 else upload.phase}, {status}"
    return upload.phase


def _share(upload: Upload) -> str:
    """Return how much the server has, as far as it has said so.

    What arrived after its last acknowledgement is known only once it is asked.
    """
    if upload.complete and upload.result is not None:
        # A refusal says nothing of what was stored.
        return "-" if upload.result.status_code >= 400 else "100 %"
    if upload.phase == "new":
        return "0 %"
    if not upload.offset or not upload.length:
        return "not said"
    return f">= {100 * upload.offset // upload.length} %"


def _record(upload: Upload) -> dict[str, object]:
    return {
        "id": upload.id,
        "phase": upload.phase,
        "offset": upload.offset,
        "length": upload.length,
        "protocol": upload.protocol,
        "target": shown_target(upload.target),
        "key": upload.key,
        "delivered": upload.delivered,
        "created": upload.created,
        "updated": upload.updated,
        "expires": upload.expires,
    }
