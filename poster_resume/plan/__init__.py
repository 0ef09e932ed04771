"""From parameters to a plan: the representation, described before it exists.

Planning looks at names, values and the status of files; it reads no file, unless
it is told to (*scan*, ``same_file="sha256"``) or has to (streams).
"""

from __future__ import annotations

from .differing import check_files, other_names
from .params import Params
from .plan import Plan, Row
from .planning import identity_of, plan_content, plan_form
from .restoring import restore

__all__ = [
    "Params",
    "Plan",
    "Row",
    "check_files",
    "identity_of",
    "other_names",
    "plan_content",
    "plan_form",
    "restore",
]
