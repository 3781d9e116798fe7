"""Build the API server's data files from published descriptions of the Kubernetes API.

    python tools/build_schema.py --go GOROOT --definitions FILE --out emulator/apiserver/types/data

It needs no network. Its two sources, both Apache-2.0, are fetched beforehand:

GOROOT: the folder ``usr/share/gocode/src/k8s.io`` of Debian's packages golang-k8s-api-dev and
golang-k8s-apimachinery-dev (0.32.x, in trixie), unpacked anywhere::

    apt-get download golang-k8s-api-dev golang-k8s-apimachinery-dev
    for package in golang-k8s-*.deb; do dpkg -x "$package" unpacked; done

Their ``types.go`` files say what no schema says: which field is a pointer, which is omitted when
empty, which structs are inlined, and the protobuf field numbers.

FILE: ``kubernetes-json-schema/v1.32.0-local/_definitions.json`` of the PyPI package
kubernetes-validate; it has the descriptions, and the types of apiextensions.k8s.io, for which
Debian has no package.

Two files come out, one type per line so that a diff can be read: ``schema.json`` (what
``podwire.emulator.apiserver.types.schema`` documents) and ``descriptions.json.gz``.
"""

import argparse
import gzip
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GROUPS = {
    "admissionregistration/v1": "admissionregistration.k8s.io",
    "apps/v1": "apps",
    "authentication/v1": "authentication.k8s.io",
    "authorization/v1": "authorization.k8s.io",
    "autoscaling/v1": "autoscaling",
    "autoscaling/v2": "autoscaling",
    "batch/v1": "batch",
    "certificates/v1": "certificates.k8s.io",
    "coordination/v1": "coordination.k8s.io",
    "core/v1": "",
    "discovery/v1": "discovery.k8s.io",
    "events/v1": "events.k8s.io",
    "networking/v1": "networking.k8s.io",
    "node/v1": "node.k8s.io",
    "policy/v1": "policy",
    "rbac/v1": "rbac.authorization.k8s.io",
    "scheduling/v1": "scheduling.k8s.io",
    "storage/v1": "storage.k8s.io",
}
META = "meta/v1"
EXTENSIONS = "apiextensions/v1"
EXTENSIONS_PREFIX = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."

# Types whose JSON and protobuf forms are written by hand in Go.
SPECIAL = {
    "meta/v1.Time": "Time",
    "meta/v1.MicroTime": "MicroTime",
    "meta/v1.Duration": "Duration",
    "meta/v1.FieldsV1": "Raw",
    "resource.Quantity": "Quantity",
    "intstr.IntOrString": "IntOrString",
    "runtime.RawExtension": "Raw",
    "apiextensions/v1.JSON": "Raw",
    "apiextensions/v1.JSONSchemaPropsOrBool": "Raw",
    "apiextensions/v1.JSONSchemaPropsOrArray": "Raw",
    "apiextensions/v1.JSONSchemaPropsOrStringArray": "Raw",
}
SCALARS = {"string", "bool", "int32", "int64", "uint32", "uint64", "int", "float64", "bytes"}

# apiextensions.k8s.io comes from a JSON schema, which does not tell Go's pointers. These optional
# fields are pointers there (their zero value is kept); its other optional scalars are not.
EXTENSION_POINTERS = {
    "maximum", "minimum", "maxLength", "minLength", "maxItems", "minItems", "multipleOf",
    "maxProperties", "minProperties", "x-kubernetes-preserve-unknown-fields",
    "x-kubernetes-list-type", "x-kubernetes-map-type", "deprecationWarning", "labelSelectorPath",
    "url", "path", "port", "reason", "optionalOldSelf",
}  # fmt: skip
EXTENSION_STRUCT_VALUES = {"metadata", "spec", "status", "names", "acceptedNames"}

# Fields of later releases that this cluster has: type -> its whole line.
LATER = {
    # KEP-3015: 1.33 alpha, 1.34 on by default.
    "discovery/v1.EndpointHints": [
        "forZones []discovery/v1.ForZone 1 o l=atomic",
        "forNodes []discovery/v1.ForNode 2 o l=atomic",
    ],
    "discovery/v1.ForNode": ["name string 1 r"],
}
LATER_DESCRIPTIONS: dict[str, tuple[str, dict[str, str]]] = {
    "discovery/v1.EndpointHints": (
        "",
        {"forNodes": "the nodes that should use this endpoint, at most 8; wins over forZones."},
    ),
    "discovery/v1.ForNode": ("A node that should use an endpoint.", {"name": "name of the node."}),
}


@dataclass
class GoField:
    """One line of a Go struct: an expression over types as in the data file, and its tags."""

    json: str
    type: str
    number: int = 0
    omit: bool = False
    marks: list[str] = field(default_factory=list[str])

    def line(self) -> str:
        """Return the field as the data file writes it."""
        words = [self.json or ".", self.type, str(self.number)]
        return " ".join([*words, *(["o"] if self.omit else []), *self.marks])


@dataclass
class Package:
    """The declarations of one Go package."""

    structs: dict[str, list[tuple[str, str, str]]] = field(
        default_factory=dict[str, list[tuple[str, str, str]]]
    )
    named: dict[str, str] = field(default_factory=dict[str, str])
    #: type -> its values and what each means, of types that are marked as enumerations
    enums: dict[str, dict[str, str]] = field(default_factory=dict[str, dict[str, str]])


IMPORT = re.compile(r'^\s+(?:(\w+) )?"(k8s\.io/[^"]+)"$', re.M)
DECLARATION = re.compile(r"^type (\w+) (?:= )?(.+)$")
FIELD = re.compile(r"^\t(?:(\w+)\s+)?([\w.\[\]*]+)\s+`(.*)`")
TAG = re.compile(r'(\w+):"((?:[^"\\]|\\.)*)"')


def package_of(path: str) -> str:
    """Return our short name of a Go import path."""
    if path.startswith("k8s.io/api/"):
        return path.removeprefix("k8s.io/api/")
    if path.endswith("apimachinery/pkg/apis/meta/v1"):
        return META
    return path.rsplit("/", 1)[-1]


def read_package(folder: Path, name: str) -> Package:
    """Read every declaration of the package in *folder*."""
    package = Package()
    for file in sorted(folder.glob("*.go")):
        if file.name.endswith("_test.go") or "generated" in file.name:
            continue
        text = file.read_text()
        imports = {
            alias or path.rsplit("/", 1)[-1]: package_of(path)
            for alias, path in IMPORT.findall(text)
        }
        _read_file(text.splitlines(), name, imports, package)
        _read_enums(text.splitlines(), package)
    return package


CONSTANT = re.compile(r'^\t?(?:const )?(\w+)\s+(\w+)\s+= "([^"]*)"')


def _read_enums(lines: list[str], package: Package) -> None:
    """Read types with the mark +enum, and the constants that are their values."""
    comments: list[str] = []
    for line in lines:
        if line.strip().startswith("//"):
            comments.append(line.strip()[2:].strip())
            continue
        if (declared := DECLARATION.match(line)) and "+enum" in comments:
            package.enums.setdefault(declared.group(1), {})
        elif (constant := CONSTANT.match(line)) and constant.group(2) in package.enums:
            name, type_, value = constant.groups()
            words = " ".join(text for text in comments if not text.startswith("+"))
            words = " ".join(words.removeprefix(name).split())
            package.enums[type_][value] = words
        comments = []


def _read_file(lines: list[str], name: str, imports: dict[str, str], package: Package) -> None:
    struct: list[tuple[str, str, str]] | None = None
    comments: list[str] = []
    for line in lines:
        if struct is not None:
            if line.startswith("}"):
                struct = None
            elif line.strip().startswith("//"):
                comments.append(line.strip()[2:].strip())
            elif match := FIELD.match(line):
                _, expression, tags = match.groups()
                struct.append((qualify(expression, name, imports), tags, "\n".join(comments)))
                comments = []
            elif not line.strip():
                comments = []
        elif match := DECLARATION.match(line):
            declared, rest = match.groups()
            if rest.startswith("struct {"):
                if not rest.endswith("}"):
                    struct = package.structs[declared] = []
                    comments = []
                else:
                    package.structs[declared] = []
            elif re.fullmatch(r"[\w.\[\]*]+", rest):
                package.named[declared] = qualify(rest, name, imports)


def qualify(expression: str, package: str, imports: dict[str, str]) -> str:
    """Write a Go type with full names: ``map[X]Y`` as ``{}Y``, ``[]byte`` as ``bytes``."""
    if expression.startswith("*"):
        return "*" + qualify(expression[1:], package, imports)
    if expression == "[]byte":
        return "bytes"
    if expression.startswith("[]"):
        return "[]" + qualify(expression[2:], package, imports)
    if match := re.match(r"map\[[\w.]+\](.+)", expression):
        return "{}" + qualify(match.group(1), package, imports)
    if expression in SCALARS:
        return expression
    if "." in expression:
        alias, name = expression.split(".")
        return f"{imports.get(alias, alias)}.{name}"
    return f"{package}.{expression}"


class Builder:
    """Collects every type that the chosen groups reach."""

    def __init__(self, packages: dict[str, Package], definitions: dict[str, Any]) -> None:
        self.packages = packages
        self.definitions = definitions
        self.types: dict[str, list[str]] = {}
        self.kinds: dict[str, str] = {}

    def resolve(self, expression: str) -> str:
        """Replace named scalars, slices and maps by what they are; visit structs."""
        if expression.startswith("*"):
            return "*" + self.resolve(expression[1:])
        if expression.startswith(("[]", "{}")):
            return expression[:2] + self.resolve(expression[2:])
        if expression in SPECIAL:
            return SPECIAL[expression]
        if expression in SCALARS:
            return expression
        package, _, name = expression.rpartition(".")
        declared = self.packages[package] if package in self.packages else Package()
        if name in declared.named:
            target = self.resolve(declared.named[name])
            if target in SCALARS or target.partition("=")[0] in SCALARS:
                return f"{target.partition('=')[0]}={package.rsplit('/', 1)[-1]}.{name}"
            # A named slice of strings is a protobuf message of its own (ExtraValue, Verbs).
            return "items" if target == "[]string" else target
        if name not in declared.structs:
            if package == "types":
                return f"string={package}.{name}"
            if package == "runtime" and name == "Object":
                return "Raw"
            raise SystemExit(f"unknown type {expression}")
        self.visit(package, name)
        return f"{package}.{name}"

    def visit(self, package: str, name: str) -> None:
        """Add the struct *name* of *package* and all that it refers to."""
        key = f"{package}.{name}"
        if key in self.types:
            return
        lines = self.types[key] = []
        required = self.required(key)
        for expression, tags, comments in self.packages[package].structs[name]:
            found = dict(TAG.findall(tags))
            json_name, *options = found.get("json", "-").split(",")
            if json_name == "-" and not options:
                continue
            if expression == f"{META}.TypeMeta" or expression.endswith("runtime.TypeMeta"):
                if name != "TypeMeta":
                    lines += ["apiVersion string 0 o", "kind string 0 o"]
                continue
            number = re.match(r"\w+,(\d+)", found.get("protobuf", ""))
            one = GoField(
                json_name,
                self.resolve(expression),
                int(number.group(1)) if number else 0,
                "omitempty" in options,
            )
            if json_name in required:
                one.marks.append("r")
            one.marks += marks(found, comments)
            lines.append(one.line())

    def required(self, key: str) -> set[str]:
        """Return the fields of a type that OpenAPI calls required."""
        definition = self.definitions.get(definition_name(key), {})
        return set(definition.get("required", []))

    def is_atomic(self, key: str) -> bool:
        """Return whether server-side apply treats the struct as one value."""
        definition = self.definitions.get(definition_name(key), {})
        return bool(definition.get("x-kubernetes-map-type") == "atomic")

    def visit_group(self, directory: str, group: str) -> None:
        """Add every kind of one group and version."""
        version = directory.rsplit("/", 1)[-1]
        for name, members in self.packages[directory].structs.items():
            if any(expression == f"{META}.TypeMeta" for expression, _, _ in members):
                self.visit(directory, name)
                self.kinds[f"{group}/{version}/{name}" if group else f"{version}/{name}"] = (
                    f"{directory}.{name}"
                )

    def visit_extensions(self) -> None:
        """Add apiextensions.k8s.io from the JSON schema."""
        for full, definition in sorted(self.definitions.items()):
            name = full.removeprefix(EXTENSIONS_PREFIX)
            if name == full or f"{EXTENSIONS}.{name}" in SPECIAL:
                continue
            required = set(definition.get("required", []))
            lines = self.types[f"{EXTENSIONS}.{name}"] = []
            for json_name, value in definition.get("properties", {}).items():
                expression = extension_type(value)
                optional = json_name not in required
                # What may be anything is a pointer in Go too: left out when nobody says it.
                is_struct = expression == "Raw" or (
                    "." in expression and not expression.startswith(("[]", "{}"))
                )
                if (is_struct and json_name not in EXTENSION_STRUCT_VALUES) or (
                    optional and json_name in EXTENSION_POINTERS and expression in SCALARS
                ):
                    expression = "*" + expression
                one = GoField(json_name, expression, 0, optional)
                one.marks += (["r"] if not optional else []) + schema_marks(value)
                lines.append(one.line())
            if "kind" in definition.get("properties", {}):
                self.kinds[f"apiextensions.k8s.io/v1/{name}"] = f"{EXTENSIONS}.{name}"


def extension_type(value: dict[str, Any]) -> str:
    """Return a JSON schema's type in our words."""
    reference = value.get("$ref")
    if isinstance(reference, str):
        full = reference.rsplit("/", 1)[-1]
        inside = full.startswith(EXTENSIONS_PREFIX)
        key = f"{EXTENSIONS if inside else META}.{full.rsplit('.', 1)[-1]}"
        return SPECIAL.get(key, key)
    types: str | list[str] = value.get("type", "object")
    kind = types if isinstance(types, str) else next(t for t in types if t != "null")
    if kind == "array":
        return "[]" + extension_type(value["items"])
    if kind == "object":
        extra: dict[str, Any] | None = value.get("additionalProperties")
        return "{}" + extension_type(extra) if extra else "Raw"
    if kind == "string" and value.get("format") == "byte":
        return "bytes"
    if kind == "integer":
        return str(value.get("format", "int64"))
    return {"string": "string", "boolean": "bool", "number": "float64"}[kind]


def schema_marks(value: dict[str, Any]) -> list[str]:
    """Return list type marks of a JSON schema property."""
    kind = value.get("x-kubernetes-list-type")
    keys = ",".join(value.get("x-kubernetes-list-map-keys", []))
    return [f"l={kind}:{keys}" if keys else f"l={kind}"] if kind else []


def marks(tags: dict[str, str], comments: str) -> list[str]:
    """Return the patch, list and default marks of a Go field."""
    found: list[str] = []
    if strategy := tags.get("patchStrategy"):
        found.append(f"p={strategy}:{tags.get('patchMergeKey', '')}")
    if kind := re.search(r"^\+(?:list|map|struct)Type=(\w+)", comments, re.M):
        keys = ",".join(re.findall(r"^\+listMapKey=(\w+)", comments, re.M))
        found.append(f"l={kind.group(1)}:{keys}" if keys else f"l={kind.group(1)}")
    if default := re.search(r"^\+default=(\S+)$", comments, re.M):
        value = default.group(1)
        if not value.startswith("ref("):
            found.append(f"d={value}")
    return found


def definition_name(key: str) -> str:
    """Return the OpenAPI name of one of our types."""
    package, _, name = key.rpartition(".")
    if package == META:
        return f"io.k8s.apimachinery.pkg.apis.meta.v1.{name}"
    if package == EXTENSIONS:
        return EXTENSIONS_PREFIX + name
    return f"io.k8s.api.{package.replace('/', '.')}.{name}"


def enumerated(key: str, packages: dict[str, Package]) -> dict[str, dict[str, str]]:
    """Return {field: {value: what it means}} for the fields of a type that are enumerations."""
    package, _, name = key.rpartition(".")
    found: dict[str, dict[str, str]] = {}
    for expression, tags, _ in packages.get(package, Package()).structs.get(name, []):
        inside, _, type_ = expression.lstrip("*").removeprefix("[]").rpartition(".")
        values = packages.get(inside, Package()).enums.get(type_)
        called = dict(TAG.findall(tags)).get("json", "").partition(",")[0]
        if values and called:
            found[called] = values
    return found


def descriptions(
    types: dict[str, list[str]], definitions: dict[str, Any], packages: dict[str, Package]
) -> dict[str, Any]:
    """Return {type: [its description, {field: description}, {field: [enumerated value]}]}."""
    found: dict[str, Any] = {}
    for key in sorted(types):
        definition = definitions.get(definition_name(key))
        if definition:
            fields: dict[str, str] = {
                name: value["description"]
                for name, value in definition.get("properties", {}).items()
                if isinstance(value, dict) and "description" in value
            }
            enums = enumerated(key, packages)
            for name, values in enums.items():
                lines = [
                    f' - `"{value}"` {words}'.rstrip() for value, words in sorted(values.items())
                ]
                text = "\n".join(["Possible enum values:", *lines])
                fields[name] = f"{fields.get(name, '')}\n\n{text}".lstrip()
            found[key] = [
                definition.get("description", ""),
                fields,
                {name: sorted(values) for name, values in enums.items()},
            ]
    for key, (text, more) in LATER_DESCRIPTIONS.items():
        known = found.setdefault(key, [text, {}, {}])
        known[1].update(more)
    return dict(sorted(found.items()))


def main(argv: list[str]) -> int:
    """Write the two data files."""
    parser = argparse.ArgumentParser(description="Build the API server's data files.")
    parser.add_argument("--go", type=Path, required=True, help="unpacked .../src/k8s.io")
    parser.add_argument("--definitions", type=Path, required=True, help="_definitions.json")
    parser.add_argument("--out", type=Path, required=True, help="folder of the data files")
    options = parser.parse_args(argv)
    definitions = json.loads(options.definitions.read_text())["$defs"]
    packages = {name: read_package(options.go / "api" / name, name) for name in [*GROUPS]}
    packages[META] = read_package(options.go / "apimachinery/pkg/apis/meta/v1", META)
    builder = Builder(packages, definitions)
    for directory, group in GROUPS.items():
        builder.visit_group(directory, group)
    for name in ("DeleteOptions", "Status", "LabelSelector", "ObjectMeta", "ListMeta"):
        builder.visit(META, name)
    for name in ("DeleteOptions", "Status"):
        builder.kinds[f"v1/{name}"] = f"{META}.{name}"
    builder.visit_extensions()
    builder.types.update(LATER)
    about = (
        "Derived by tools/build_schema.py from Kubernetes 1.32 as published in Debian's"
        " golang-k8s-api-dev and golang-k8s-apimachinery-dev (0.32.3) and in PyPI's"
        " kubernetes-validate 1.37.0 (v1.32.0 definitions). Copyright The Kubernetes Authors,"
        " Apache-2.0. Format: podwire.emulator.apiserver.types.schema."
    )
    write_schema(options.out / "schema.json", about, builder)
    text = json.dumps(descriptions(builder.types, definitions, packages), separators=(",", ":"))
    packed = gzip.compress(text.encode(), 9, mtime=0)
    (options.out / "descriptions.json.gz").write_bytes(packed)
    print(f"{len(builder.types)} types, {len(builder.kinds)} kinds", file=sys.stderr)  # noqa: T201
    return 0


def write_schema(path: Path, about: str, builder: Builder) -> None:
    """Write the types, one per line, sorted."""
    lines = ["{", f'"about": {json.dumps(about)},', '"kinds": {']
    lines += _entries(builder.kinds)
    lines += ["},", '"types": {']
    lines += _entries({key: ";".join(fields) for key, fields in builder.types.items()})
    lines += ["},", '"atomic": [']
    atomic = sorted(key for key in builder.types if builder.is_atomic(key))
    lines += [",\n".join(json.dumps(key) for key in atomic), "]"]
    lines += ["}", ""]
    path.write_text("\n".join(lines))


def _entries(values: dict[str, str]) -> list[str]:
    last = len(values) - 1
    return [
        f"{json.dumps(key)}: {json.dumps(value)}{'' if index == last else ','}"
        for index, (key, value) in enumerate(sorted(values.items()))
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
