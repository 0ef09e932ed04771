"""Streaming uploads of multipart/form-data forms: encode them, send them.

`version` is a tuple of three integers; a newer release compares greater.
"""

import poster.encode as encode
import poster.streaminghttp as streaminghttp

__all__ = ["encode", "streaminghttp", "version"]

version = (1, 0, 0)
