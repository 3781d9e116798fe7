"""Pure: the images that a user adds to the catalogue, and the ConfigMap that holds them.

Image names hold characters that a key may not, so each value is JSON: {"image", "command"}.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from posixpath import join, normpath
from typing import Any, cast

Json = dict[str, Any]

NAMESPACE, NAME = "kube-system", "podwire-images"


def split(command: str) -> tuple[str, ...]:
    """Return the words of *command* as a shell would split them; raises ValueError."""
    words = tuple(shlex.split(command))
    if not words:
        raise ValueError("it says no command")
    return words


def beside(command: Sequence[str], folder: str) -> tuple[str, ...]:
    """Return *command* with the words that begin with ./ or ../ as paths in *folder*.

    Containers begin in /, so a path that is meant from where the command was written names nothing.
    """

    def path(word: str) -> str:
        # A script for `sh -c` has spaces.
        is_path = word.startswith(("./", "../")) and not re.search(r"\s", word)
        return normpath(join(folder, word)) if is_path else word

    return tuple(map(path, command))


def config_map(images: Mapping[str, Sequence[str]]) -> Json:
    """Return the ConfigMap that adds *images*: name -> command."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "namespace": NAMESPACE},
        "data": {key_of(image): value_of(image, command) for image, command in images.items()},
    }


def key_of(image: str) -> str:
    """Return the key under which an image stands; a ConfigMap allows no / and no : in it.

    Each has its own, as far as 253 characters, which a key may have, tell them apart.
    """
    return re.sub(r"[^-.a-zA-Z0-9]", lambda found: f"_{ord(found[0]):02x}", image)[:253]


def value_of(image: str, command: Sequence[str]) -> str:
    """Return what stands under the key of an image."""
    return json.dumps({"image": image, "command": list(command)})


def added(data: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return image -> command of a ConfigMap's data; what is not of our form is left out."""
    found = dict[str, tuple[str, ...]]()
    for text in data.values():
        try:
            entry = cast("Json", json.loads(text))
            image, command = entry["image"], entry["command"]
        except (ValueError, KeyError, TypeError):
            continue
        if isinstance(image, str) and isinstance(command, list) and command:
            found[image] = tuple(str(word) for word in cast("list[object]", command))
    return found
