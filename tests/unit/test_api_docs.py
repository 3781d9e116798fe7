"""docs/api.md says what the code does, and all of it."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.by_path import loaded

ROOT = Path(__file__).parents[2]
SERVER = ROOT / "emulator" / "apiserver"

build_api_docs = loaded(ROOT / "tools" / "build_api_docs.py")


def test_the_page_is_what_the_tool_writes() -> None:
    written = build_api_docs.PAGE.read_text(encoding="utf-8")
    assert written == build_api_docs.page(), "run: .venv/bin/python -P tools/build_api_docs.py"


def texts(path: Path, function: str = "") -> Iterator[str]:
    """Yield the sentences in a module, or in one function: no docstrings, no single words."""
    tree: ast.AST = ast.parse(path.read_text(encoding="utf-8"))
    if function:
        tree = next(
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef) and node.name == function
        )
    for node in ast.walk(tree):
        # A string that stands alone is a docstring.
        for value in ast.iter_child_nodes(node):
            if isinstance(node, ast.Expr) or not isinstance(value, ast.Constant):
                continue
            if isinstance(value.value, str) and " " in value.value.strip():
                yield value.value


@pytest.mark.parametrize(
    ("file", "function"),
    [("admission/unsupported.py", ""), ("custom/crd.py", "vain")],
    ids=["fields", "crd"],
)
def test_every_warning_is_on_the_page(file: str, function: str) -> None:
    page = build_api_docs.page().replace("\\", "")
    # Some have the field in front, and a type in quotes is no text.
    said = [text.partition(": ")[2] or text.strip("; ") for text in texts(SERVER / file, function)]
    missing = [text for text in said if text not in page and "_Table" not in text]
    assert len(said) > 1
    assert missing == [], "ask for it in tools/api_docs_asked.yaml"


@pytest.mark.parametrize("path", sorted(SERVER.rglob("validate_*.py")), ids=lambda path: path.stem)
def test_every_refusal_of_our_own_is_on_the_page(path: Path) -> None:
    ours = [text for text in texts(path) if " here" in f"{text} ".replace(":", " ")]
    page = build_api_docs.page().replace("\\", "")
    missing = [text for text in ours if text not in page]
    assert missing == [], "ask for it in tools/api_docs_asked.yaml"
