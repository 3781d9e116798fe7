"""Pure: rules for the volumes of a pod.

Source: pkg/apis/core/validation/validation.go of Kubernetes 1.32.
"""

from podwire.emulator.apiserver.admission.field_errors import (
    FieldError,
    duplicate,
    forbidden,
    invalid,
    required,
)
from podwire.emulator.apiserver.admission.validate_meta import Json, check
from podwire.emulator.apiserver.types.fields import many
from podwire.kube import syntax

_MODE = "must be a number between 0 and 0777 (octal), both inclusive"
_PROJECTIONS = ("secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle")
_SHORTEST_TOKEN, _LONGEST_TOKEN = 600, 2**32


def volume(field: str, volume: Json, names: set[str]) -> list[FieldError]:
    """Check a volume of a pod; *names* are those of the volumes before it, and its own then."""
    name = volume.get("name", "")
    problems = check(f"{field}.name", name, syntax.label) if name else [required(f"{field}.name")]
    if name in names:
        problems.append(duplicate(f"{field}.name", name))
    names.add(name)
    sources = [one for one in volume if one != "name"]
    if not sources:
        problems.append(required(field, "must specify a volume type"))
    problems += [
        forbidden(f"{field}.{one}", "may not specify more than 1 volume type")
        for one in sources[1:]
    ]
    for one in sources[:1]:
        problems += _source(f"{field}.{one}", one, volume[one] or {})
    return problems


def _source(field: str, kind: str, source: Json) -> list[FieldError]:
    problems: list[FieldError] = []
    needed = {
        "secret": "secretName",
        "configMap": "name",
        "hostPath": "path",
        "persistentVolumeClaim": "claimName",
    }
    if kind in needed and not source.get(needed[kind]):
        problems.append(required(f"{field}.{needed[kind]}"))
    if kind == "hostPath" and ".." in source.get("path", "").split("/"):
        problems.append(invalid(f"{field}.path", source["path"], "must not contain '..'"))
    if kind in ("secret", "configMap", "downwardAPI", "projected"):
        mode = source.get("defaultMode")
        if mode is None:
            problems.append(required(f"{field}.defaultMode"))
        elif not 0 <= mode <= 0o777:
            problems.append(invalid(f"{field}.defaultMode", mode, _MODE))
    for index, item in enumerate(many(source, "items")):
        problems += _item(f"{field}.items[{index}]", item, kind)
    paths: set[str] = set()
    for index, projection in enumerate(many(source, "sources")):
        problems += _projection(f"{field}.sources[{index}]", projection, paths)
    return problems


def _projection(field: str, projection: Json, paths: set[str]) -> list[FieldError]:
    """Check one source of a projected volume; no two files may have one path."""
    given = [kind for kind in _PROJECTIONS if projection.get(kind) is not None]
    problems = [
        forbidden(f"{field}.{kind}", "may not specify more than 1 volume type")
        for kind in given[1:]
    ]
    for kind in given[:1]:
        at, source = f"{field}.{kind}", projection[kind]
        if kind in ("secret", "configMap") and not source.get("name"):
            problems.append(required(f"{at}.name"))
        for index, item in enumerate(many(source, "items")):
            problems += _item(f"{at}.items[{index}]", item, kind)
            problems += _once(at, item.get("path", ""), paths)
        if kind == "serviceAccountToken":
            problems += _token(at, source)
            problems += _once(f"{at}.path", source.get("path", ""), paths)
    return problems


def _once(field: str, path: str, paths: set[str]) -> list[FieldError]:
    if not path:
        return []
    if path in paths:
        message = f"conflicting duplicate paths: {path}"
        return [invalid(field, path, message)]
    paths.add(path)
    return []


def _token(field: str, source: Json) -> list[FieldError]:
    seconds = source.get("expirationSeconds", _SHORTEST_TOKEN)
    problems: list[FieldError] = []
    if seconds < _SHORTEST_TOKEN:
        message = "may not specify a duration less than 10 minutes"
        problems.append(invalid(f"{field}.expirationSeconds", seconds, message))
    if seconds > _LONGEST_TOKEN:
        message = "may not specify a duration larger than 2^32 seconds"
        problems.append(invalid(f"{field}.expirationSeconds", seconds, message))
    if not source.get("path"):
        return [*problems, required(f"{field}.path")]
    return problems + _inside(f"{field}.path", source["path"])


def _item(field: str, item: Json, kind: str) -> list[FieldError]:
    problems: list[FieldError] = []
    path: str = item.get("path", "")
    if kind in ("secret", "configMap") and not item.get("key"):
        problems.append(required(f"{field}.key"))
    if not path:
        problems.append(required(f"{field}.path"))
    else:
        problems += _inside(f"{field}.path", path)
    if kind == "downwardAPI":
        problems += _downward(field, item)
    mode = item.get("mode")
    if mode is not None and not 0 <= mode <= 0o777:
        problems.append(invalid(f"{field}.mode", mode, _MODE))
    return problems


def _inside(field: str, path: str) -> list[FieldError]:
    """Check a path that must stay inside of the volume."""
    if path.startswith("/"):
        return [invalid(field, path, "must be a relative path")]
    if ".." in path.split("/"):
        return [invalid(field, path, "must not contain '..'")]
    if path.startswith(".."):
        return [invalid(field, path, "must not start with '..'")]
    return []


def _downward(field: str, item: Json) -> list[FieldError]:
    of_field, of_resource = item.get("fieldRef"), item.get("resourceFieldRef")
    if of_field is not None and of_resource is not None:
        message = "fieldRef and resourceFieldRef can not be specified simultaneously"
        return [invalid(field, "resource", message)]
    if of_field is None and of_resource is None:
        return [required(field, "one of fieldRef and resourceFieldRef is required")]
    if of_resource is not None and not of_resource.get("containerName"):
        return [required(f"{field}.resourceFieldRef.containerName")]
    return []
