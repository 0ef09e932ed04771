"""Streaming uploads of multipart/form-data forms: encode them, send them.

`version` is a tuple of three integers; a newer release compares greater.
"""

version = (1, 0, 0)
