"""Pure: the three ways to change a stored object by a patch. None changes its arguments.

The content types ``application/json-patch+json``, ``application/merge-patch+json`` and
``application/strategic-merge-patch+json``. Every failure is a PatchError, which says what Status
the server answers.
"""

from podwire.emulator.apiserver.patches.json_patch import PatchError, json_patch, merge_patch
from podwire.emulator.apiserver.patches.strategic import strategic_merge_patch

__all__ = ["PatchError", "json_patch", "merge_patch", "strategic_merge_patch"]
