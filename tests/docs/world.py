"""The world that the docs' code runs in: their files, and their servers on loopback.

Reads a program from standard input. ``https://example.org/videos`` speaks the
IETF's resumable uploads here, ``https://example.org/files`` tus, anything else
there takes plain forms.
"""

from __future__ import annotations

import os
import sys

from poster_resume.testing import Receiver


def main() -> None:
    program = sys.stdin.read()
    os.chdir(sys.argv[1])
    with open("holiday.mov", "wb") as file:
        file.write(os.urandom(1_000_000))
    with Receiver() as receiver:
        for address, path in (("videos", "rufh"), ("files", "tus"), ("", "form")):
            program = program.replace(
                f"https://example.org/{address}", f"{receiver.url}/{path}"
            )
        code = compile(program, "<docs>", "exec")
        exec(code, {"__name__": "__main__"})


if __name__ == "__main__":
    main()
