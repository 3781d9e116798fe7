"""The Corefile as coredns' container reads it: the ConfigMap's, in a folder that both mount.

What a kubelet does for the volumes of its pods; coredns is a container that somebody else starts.
"""

import logging
from pathlib import Path

from podwire.emulator import coredns
from podwire.kube.codec import key_of
from podwire.kube.names import Key
from podwire.kube.objects import ConfigMap

log = logging.getLogger(__name__)

_CONFIG_MAP = Key(coredns.NAMESPACE, coredns.NAME)


class CorefileOnDisk:
    """A file that is kept at what the ConfigMap says; without that it stays, as what is served."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def look(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        """Take note of a ConfigMap that is new, has changed or is gone."""
        found = new or old
        if found is None or key_of(found) != _CONFIG_MAP:
            return
        text = new.data.get(coredns.FILE) if new is not None else None
        if text is None:
            log.warning("no %s in ConfigMap %s: coredns keeps the last", coredns.FILE, _CONFIG_MAP)
            return
        # A reader sees the old or the new one, never half of it.
        draft = self._path.with_name(f".{self._path.name}.new")
        draft.write_text(text, encoding="utf-8")
        draft.chmod(0o644)
        draft.replace(self._path)
