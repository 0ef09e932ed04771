"""The commands that upload: ``send``, and ``resume``, which goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..console import Console
from .app import app, ended
from .fields import Mistake, form_given
from .manner import Manner
from .options import (
    HOW,
    AnswerTimeout,
    Assume,
    CaCert,
    ChunkSize,
    ConnectTimeout,
    Content,
    ContentType,
    Deadline,
    Form,
    FormString,
    Header,
    Insecure,
    Json,
    Metadata,
    OnChange,
    ProtocolName,
    Proxy,
    Quiet,
    Replay,
    RetryFor,
    SameFile,
    State,
    Trusted,
    TusForm,
    User,
    Verbose,
    Wait,
    option,
)
from .running import Run

if TYPE_CHECKING:
    from ..protocols import UploadProtocol


@app.command()
def send(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to send it.")],
    form: Form = None,
    form_string: FormString = None,
    content: Content = None,
    content_type: ContentType = None,
    metadata: Metadata = None,
    method: Annotated[
        str, option("-X", "--method", panel=HOW, help="Of the request.")
    ] = "POST",
    protocol: Annotated[
        ProtocolName,
        option("--protocol", panel=HOW, help="auto asks the server what it speaks."),
    ] = ProtocolName.auto,
    tus_form: Annotated[
        TusForm | None,
        option(
            "--tus-form",
            panel=HOW,
            help="What a tus server stores of a form: the encoded form, or its one "
            "file with the text fields as metadata. Implies --protocol tus.",
        ),
    ] = None,
    checksum: Annotated[
        str | None,
        option(
            "--checksum",
            panel=HOW,
            metavar="NAME",
            help="Have a tus server verify each append: sha1, sha256, ... "
            "Implies --protocol tus.",
        ),
    ] = None,
    require_resumable: Annotated[
        bool,
        option("--require-resumable", panel=HOW, help="Refuse any other server."),
    ] = False,
    key: Annotated[
        str | None,
        option(
            "--key",
            panel=HOW,
            help="A name for this upload: with it, another URL or other text is the "
            "same upload still.",
        ),
    ] = None,
    on_change: Annotated[
        OnChange,
        option("--on-change", panel=HOW, help="If a half-sent file has changed."),
    ] = OnChange.stop,
    replay: Annotated[
        Replay,
        option(
            "--replay",
            panel=HOW,
            help="Whether a plain request that broke may be started over.",
        ),
    ] = Replay.never,
    same_file: Annotated[
        SameFile,
        option("--same-file", panel=HOW, help="What tells that a file is the same."),
    ] = SameFile.strict,
    header: Header = None,
    user: User = None,
    cacert: CaCert = None,
    insecure: Insecure = False,
    trusted_origin: Trusted = None,
    proxy: Proxy = None,
    chunk_size: ChunkSize = None,
    retry_for: RetryFor = None,
    deadline: Deadline = None,
    wait: Wait = None,
    connect_timeout: ConnectTimeout = None,
    answer_timeout: AnswerTimeout = None,
    state: State = None,
    no_state: Annotated[
        bool, option("--no-state", panel=HOW, help="Keep nothing; not resumable.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Send a form, or a file. The same command again goes on where it stopped.

    The server's answer goes to standard output.
    """
    console = Console(as_json=json, quiet=quiet, verbose=verbose)
    manner = Manner(
        headers=tuple(header or ()),
        user=user,
        cacert=cacert,
        insecure=insecure,
        proxy=proxy,
        state=state,
        no_state=no_state,
        retry_for=retry_for,
        deadline=deadline,
        wait=wait,
        chunk_size=chunk_size,
        connect_timeout=connect_timeout,
        answer_timeout=answer_timeout,
        trusted=tuple(trusted_origin or ()),
    )

    def command(run: Run) -> int:
        from ..sender import ResumableUpload
        from .fields import content_of, parse_pairs

        params = form_given(form, form_string)
        if (params is None) == (content is None):
            raise Mistake("give either fields by -F, or one file by --content")
        if params is not None and (content_type or metadata):
            raise Mistake("--content-type and --metadata go with --content, not -F")
        chosen = _protocol(protocol, tus_form, checksum, replay)
        if protocol is ProtocolName.tus and params is not None and tus_form is None:
            raise Mistake(
                "--protocol tus: the server would store the encoded form as one file; "
                "choose --tus-form file to send the form's file alone, or "
                "--tus-form multipart to store the encoded form"
            )

        def make(given: dict[str, Any]) -> ResumableUpload:
            return ResumableUpload(
                url,
                params,
                content=None if content is None else content_of(content),
                content_type=content_type,
                metadata=parse_pairs("--metadata", metadata) if metadata else None,
                method=method,
                protocol=chosen,
                require_resumable=require_resumable,
                key=key,
                on_change=on_change.value,
                replay=replay.value,
                same_file=same_file.value,
                **given,
            )

        return run.send(make, manner)

    ended(console, command)


@app.command()
def resume(
    upload_id: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", help="From `poster list`; its beginning will do."
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every upload that is not done.")
    ] = False,
    assume: Annotated[
        Assume | None,
        typer.Option(
            help="Settle an unknown outcome: complete believes that the server has "
            "it, lost sends it anew.",
        ),
    ] = None,
    header: Header = None,
    user: User = None,
    cacert: CaCert = None,
    insecure: Insecure = False,
    trusted_origin: Trusted = None,
    proxy: Proxy = None,
    chunk_size: ChunkSize = None,
    retry_for: RetryFor = None,
    deadline: Deadline = None,
    wait: Wait = None,
    connect_timeout: ConnectTimeout = None,
    answer_timeout: AnswerTimeout = None,
    state: State = None,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Go on with an upload, or with all that are not done.

    Credentials are never stored: give them anew.
    """
    console = Console(as_json=json, quiet=quiet, verbose=verbose)
    manner = Manner(
        headers=tuple(header or ()),
        user=user,
        cacert=cacert,
        insecure=insecure,
        proxy=proxy,
        state=state,
        retry_for=retry_for,
        deadline=deadline,
        wait=wait,
        chunk_size=chunk_size,
        connect_timeout=connect_timeout,
        answer_timeout=answer_timeout,
        trusted=tuple(trusted_origin or ()),
    )

    def command(run: Run) -> int:
        from .keeping import found, resumed

        if everything == (upload_id is not None):
            raise Mistake("give the ID of an upload, from `poster list`, or --all")
        if everything and assume is not None:
            raise Mistake("--assume settles one upload: give its ID instead of --all")
        wanted = None if upload_id is None else found(upload_id, manner.store)
        return resumed(
            run, manner, wanted, assume=None if assume is None else assume.value
        )

    ended(console, command)


def _protocol(
    name: ProtocolName, tus_form: TusForm | None, checksum: str | None, replay: Replay
) -> str | UploadProtocol:
    """Return what ``protocol=`` takes."""
    if tus_form is None and checksum is None:
        return name.value
    if name not in (ProtocolName.auto, ProtocolName.tus):
        raise Mistake(f"--tus-form and --checksum go with tus, not {name.value}")
    from ..protocols import Tus

    return Tus(form=None if tus_form is None else tus_form.value, checksum=checksum)
