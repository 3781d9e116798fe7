"""The packages are where pyproject.toml says, the links lead there, and files stay small."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAPPING: dict[str, str] = SETTINGS["tool"]["setuptools"]["package-dir"]
TOPS = ("podwire", *MAPPING.values())
FILES = {
    ".".join(("" if top == "podwire" else "podwire", *parts)).strip("."): path
    for top in TOPS
    for path in (ROOT / top).rglob("*.py")
    if (parts := path.relative_to(ROOT).with_suffix("").parts)
    and not any(parent.is_symlink() for parent in path.parents)
}
"""Our modules, by their names; the links in podwire/ are not followed."""


def package_folders() -> set[str]:
    names = set[str]()
    for top in TOPS:
        prefix = "podwire" if top == "podwire" else f"podwire.{top}"
        for init in (ROOT / top).rglob("__init__.py"):
            inside = init.parent.relative_to(ROOT / top)
            if any((ROOT / top / part).is_symlink() for part in inside.parts[:1]):
                continue
            names.add(".".join([prefix, *inside.parts]))
    return names


def test_every_package_folder_is_in_pyproject() -> None:
    assert set(SETTINGS["tool"]["setuptools"]["packages"]) == package_folders()


def test_the_plugin_of_runtimes_is_installed_as_a_program_that_runs() -> None:
    (launcher,) = (ROOT / path for path in SETTINGS["tool"]["setuptools"]["script-files"])
    assert launcher.name == "podwire-cni"
    assert launcher.stat().st_mode & 0o111 == 0o111


@pytest.mark.parametrize("folder", sorted(MAPPING.values()))
def test_every_link_leads_home(folder: str) -> None:
    link = ROOT / "podwire" / folder
    assert link.is_symlink(), "a checkout without symbolic links: type checkers will not see all"
    assert link.resolve() == ROOT / folder


@pytest.mark.parametrize("name", [*sorted(MAPPING.values()), "tests"])
def test_no_bare_name_is_ours(name: str) -> None:
    # The bare name dns is dnspython, which is a client in the tests.
    code = f"import importlib.util; print(importlib.util.find_spec({name!r}))"
    command = [sys.executable, "-P", "-c", code]
    found = subprocess.run(command, cwd="/", check=True, capture_output=True, text=True).stdout
    assert found == "None\n" or (name == "dns" and "site-packages/dns/" in found)


@pytest.mark.parametrize("library", ["aiohttp", "asyncio", "dnslib", "scapy", "yaml"])
def test_the_command_line_starts_without_big_libraries(library: str) -> None:
    code = f"import sys, podwire.cli; sys.exit({library!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-P", "-c", code], cwd="/", check=False).returncode == 0


def test_no_file_is_longer_than_500_lines() -> None:
    others = (path for top in ("tests", "bench", "tools") for path in (ROOT / top).rglob("*.py"))
    lengths = {path: len(path.read_text().splitlines()) for path in (*FILES.values(), *others)}
    assert not {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > 500}


# They take types from modules that also do things.
PURE_BUT_FOR_TYPES = {
    "podwire.emulator.apiserver.streams.containers",
    "podwire.emulator.compose.settings",
    "podwire.emulator.discovery.node_mirror",
    "podwire.emulator.kubelet.usage_report",
    "podwire.emulator.runtimes.docker_requests",
    "podwire.emulator.runtimes.mounts",
}


def test_who_says_that_it_is_pure_is_held_to_it() -> None:
    [held] = (c for c in SETTINGS["tool"]["importlinter"]["contracts"] if c["id"] == "pure")
    said = {
        name
        for name, path in FILES.items()
        if path.read_text().removeprefix("r").startswith('"""Pure')
    }
    assert said - set(held["source_modules"]) == PURE_BUT_FOR_TYPES


def test_package_inits_hold_a_docstring_only() -> None:
    import ast  # noqa: PLC0415 - used here alone

    for top in TOPS:
        for init in (ROOT / top).rglob("__init__.py"):
            body = ast.parse(init.read_text()).body
            allowed = 2 if init == ROOT / "podwire" / "__init__.py" else 1
            assert len(body) == allowed, init
