"""Pure: edits of a kubeconfig's text that keep every byte which is not ours.

The text is edited by lines at the positions that the YAML parser reports. Each edit is checked:
what the new text says must equal what the old one said plus or minus our entries. Where an edit by
lines does not hold that (flow style, anchors), the file is written anew, which loses comments but
never an entry.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Any, cast

import yaml

Json = dict[str, Any]

SECTIONS = ("clusters", "contexts", "users")


def parsed(text: str) -> Json:
    """Return what a kubeconfig says; empty text is an empty one. Raises ValueError."""
    try:
        config: object = yaml.load(text, yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error
    if config is None:
        return {}
    if not isinstance(config, dict):
        raise ValueError("a mapping is expected at the top")
    for section in SECTIONS:
        items: object = cast("Json", config).get(section) or []
        if not isinstance(items, list) or not all(map(_is_named, cast("list[object]", items))):
            raise ValueError(f"{section} must be a list of things with names")
    for item in _items(cast("Json", config), "contexts"):
        context: object = item.get("context") or {}
        if not isinstance(context, dict):
            raise ValueError(f"the context {item['name']} must be a mapping")
        extensions: object = cast("Json", context).get("extensions") or []
        if not isinstance(extensions, list) or not all(
            map(_is_named, cast("list[object]", extensions))
        ):
            raise ValueError(f"extensions of the context {item['name']} must be things with names")
    return cast("Json", config)


def _is_named(item: object) -> bool:
    return isinstance(item, dict) and isinstance(cast("Json", item).get("name"), str)


def with_entries(text: str, name: str, entries: Mapping[str, Json], *, current: str) -> str:
    """Return *text* with one entry called *name* in each section, and *current* as the context."""
    config = parsed(text)
    wanted: Json = {"apiVersion": "v1", "kind": "Config", **config}
    for section in SECTIONS:
        others = [item for item in _items(wanted, section) if item["name"] != name]
        wanted[section] = [*others, entries[section]]
    wanted["current-context"] = current

    def edit() -> str:
        edited = text
        for section in SECTIONS:
            edited = _append(_drop(edited, section, {name}), section, entries[section])
        for key, value in (("apiVersion", "v1"), ("kind", "Config")):
            if key not in config:
                edited = _set(edited, key, value)
        return _set(edited, "current-context", current)

    return _checked(edit, wanted)


def without_entries(text: str, names: Collection[str], *, current: str) -> str:
    """Return *text* without the entries called *names*, and with *current* as the context."""
    wanted = dict(parsed(text))
    for section in SECTIONS:
        if section in wanted:
            wanted[section] = [
                item for item in _items(wanted, section) if item["name"] not in names
            ]
    wanted["current-context"] = current

    def edit() -> str:
        edited = text
        for section in SECTIONS:
            edited = _drop(edited, section, names)
        return _set(edited, "current-context", current)

    return _checked(edit, wanted)


def _items(config: Json, section: str) -> list[Json]:
    return cast("list[Json]", config.get(section) or [])


def _checked(edit: Callable[[], str], wanted: Json) -> str:
    # An edit in between may even be no YAML any more, where a value stands in an odd place.
    with suppress(ValueError, yaml.YAMLError):
        edited = edit()
        if _meaning(parsed(edited)) == _meaning(wanted):
            return edited
    return str(yaml.safe_dump(wanted, sort_keys=False, width=10**6))


def _meaning(config: Json) -> Json:
    """Return *config* with the differences removed that no reader sees: absent, null and empty."""
    return {key: value for key, value in config.items() if value not in (None, "", [], {})}


def _append(text: str, section: str, entry: Json) -> str:
    """Return *text* with *entry* after the last one of *section*."""
    found = _value(text, section)
    lines = text.splitlines(keepends=True)
    if found is None:
        return _ended(text) + f"{section}:\n" + _item(entry, 0)
    key, value = found
    if isinstance(value, yaml.SequenceNode) and value.value and not value.flow_style:
        indent = value.start_mark.column
        at = _last_line(value) + 1
        lines[at - 1] = _ended(lines[at - 1])
        return "".join([*lines[:at], _item(entry, indent), *lines[at:]])
    if value.value in ("", "null", "~") or not value.value:
        at = key.start_mark.line
        rest = "".join(lines[_last_line(value) + 1 :])
        return "".join(lines[:at]) + f"{section}:\n" + _item(entry, 0) + rest
    raise ValueError(f"{section} is not in block style")


def _drop(text: str, section: str, names: Collection[str]) -> str:
    """Return *text* without the items of *section* called *names*."""
    found = _value(text, section)
    if found is None or not isinstance(found[1], yaml.SequenceNode) or not found[1].value:
        return text
    key, value = found
    items = cast("list[yaml.Node]", value.value)
    unwanted = [item for item in items if _name_of(item) in names]
    if not unwanted:
        return text
    if value.flow_style:
        raise ValueError(f"{section} is not in block style")
    lines = text.splitlines(keepends=True)
    if len(unwanted) == len(items):
        head = lines[key.start_mark.line]
        ending = "\n" if head.endswith("\n") else ""
        lines[key.start_mark.line] = head[: key.end_mark.column] + ": []" + ending
    for item in reversed(unwanted):
        first, last = item.start_mark.line, _last_line(item)
        if not lines[first].lstrip().startswith("-"):
            raise ValueError("an item whose dash stands on a line of its own")
        del lines[first : last + 1]
    return "".join(lines)


def _set(text: str, key: str, value: str) -> str:
    """Return *text* with a plain value at *key* of the top mapping."""
    shown = yaml.safe_dump(value, width=10**6).removesuffix("\n...\n").rstrip("\n")
    found = _value(text, key)
    if found is None:
        return _ended(text) + f"{key}: {shown}\n" if value else text
    if not isinstance(found[1], yaml.ScalarNode):
        raise ValueError(f"{key} is not a plain value")
    if found[1].value == value:
        return text
    start, end = found[1].start_mark, found[1].end_mark
    if start.index == end.index:  # nothing stands there: put a space after the colon
        colon = found[0].end_mark.index + 1
        return f"{text[:colon]} {shown}{text[colon:]}"
    return text[: start.index] + shown + text[end.index :]


def _value(text: str, key: str) -> tuple[yaml.Node, Any] | None:
    """Return (key, value) of the top mapping, or None."""
    root = cast("yaml.Node | None", cast("Any", yaml).compose(text, yaml.CSafeLoader))
    if root is None:
        return None
    if not isinstance(root, yaml.MappingNode) or root.flow_style:
        raise ValueError("the top mapping is not in block style")
    pairs = cast("list[tuple[yaml.Node, yaml.Node]]", root.value)
    return next(((name, value) for name, value in pairs if name.value == key), None)


def _name_of(item: yaml.Node) -> str:
    pairs = cast("list[tuple[yaml.Node, yaml.Node]]", item.value)
    return next((str(value.value) for key, value in pairs if key.value == "name"), "")


def _last_line(node: Any) -> int:
    """Return the line on which the last visible character of *node* stands.

    The end mark of a block collection stands after the comments that follow it, and those
    belong to whatever comes next; so look at its last leaf.
    """
    while not isinstance(node, yaml.ScalarNode) and node.value and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(node, yaml.MappingNode) else last
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        return int(node.end_mark.line) - 1
    return int(node.end_mark.line)


def _item(entry: Json, indent: int) -> str:
    text: str = yaml.safe_dump([entry], sort_keys=True, width=10**6)
    return "".join(" " * indent + line for line in text.splitlines(keepends=True))


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"
