"""A cluster of `docker compose up`: its kubeconfig has our context, but no anchor keeps it."""

import json
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from podwire.cli import main
from podwire.commands import session
from podwire.emulator import anchor, kubeconfig
from podwire.emulator.compose.manifests import applied
from podwire.emulator.kubeconfig import Origin

if TYPE_CHECKING:
    from tests.unit.commands.conftest import Api


@pytest.mark.parametrize(
    "options", [[], ["--context", "test"], ["--context", "podwire-test"], ["--name", "test"]]
)
def test_every_way_to_name_it(
    api: "Api",
    options: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(api.kubeconfig))
    before = api.kubeconfig.read_text()
    assert main(["ls"]) == 0
    capfd.readouterr()  # it also names the clusters that the machine's user has
    assert main(["status", "-o", "json", *options]) == 0
    summary = json.loads(capfd.readouterr().out)
    assert (summary["context"], summary["server"]) == ("podwire-test", api.server)
    assert api.kubeconfig.read_text() == before


def test_a_context_that_nobody_has_is_named_as_it_was_given(
    api: "Api", capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--kubeconfig", str(api.kubeconfig), "--context", "other"]) == 64
    assert "there is no context 'other'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("current", "running", "meant"),
    [
        ("compose, foreign", [], "compose"),
        ("compose, foreign", ["blue"], "compose"),
        ("blue, kept", ["blue", "green"], "blue"),
        # Of another machine or user, whose cluster's end nobody here would see.
        ("blue, kept", ["green"], "green"),
        ("blue, kept", [], "podwire"),
        ("work, foreign", ["green"], "green"),
    ],
)
def test_which_cluster_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, current: str, running: list[str], meant: str
) -> None:
    name, _, how = current.partition(", ")
    path = tmp_path / "kubeconfig"
    entry = kubeconfig.document(
        name, server="https://127.0.0.1:1", authority=b"", certificate=b"", key=b""
    )
    if how == "kept":
        kubeconfig.merge(path, name, entry, Origin("elsewhere", "", "", 0))
    else:
        path.write_text(yaml.safe_dump(entry).replace("podwire-work", "work"))
    monkeypatch.setattr(anchor, "running", lambda: running)
    args = Namespace(name="", context="", kubeconfig="")
    assert session.cluster_name(args, [path]) == meant


def test_one_refused_object_keeps_no_other_away(api: "Api", tmp_path: Path) -> None:
    objects: list[dict[str, Any]] = [
        {"kind": "Service", "metadata": {"name": "Bad"}, "spec": {"ports": [{"port": 1}]}},
        {"kind": "Widget", "metadata": {"name": "w"}},
        {"kind": "ConfigMap", "metadata": {"name": "fine", "namespace": "late"}},
        {"kind": "Namespace", "metadata": {"name": "late"}},
    ]
    one, two = tmp_path / "1.yaml", tmp_path / "2.yaml"
    one.write_text(yaml.safe_dump_all({"apiVersion": "v1"} | obj for obj in objects[:3]))
    two.write_text(yaml.safe_dump({"apiVersion": "v1"} | objects[3]))
    outcome = applied([one, two], api.access)
    assert outcome.applied == 2
    assert [problem.file for problem in outcome.problems] == [str(one), str(one)]
    for problem, words in zip(outcome.problems, ("Service 'Bad'", "Widget 'w'"), strict=True):
        assert problem.message.startswith(f"{one}:")
        assert words in problem.message
    assert applied([one, two], api.access).applied == 0
