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
    files = [path for top in MAPPING.values() for path in (ROOT / top).rglob("*.py")]
    files += [
        p
        for p in (ROOT / "podwire").rglob("*.py")
        if p.relative_to(ROOT / "podwire").parts[0] not in MAPPING.values()
    ]
    long = {
        str(p.relative_to(ROOT)): n for p in files if (n := len(p.read_text().splitlines())) > 500
    }
    assert not long


def test_package_inits_hold_a_docstring_only() -> None:
    import ast  # noqa: PLC0415 - used here alone

    for top in TOPS:
        for init in (ROOT / top).rglob("__init__.py"):
            body = ast.parse(init.read_text()).body
            allowed = 2 if init == ROOT / "podwire" / "__init__.py" else 1
            assert len(body) == allowed, init
