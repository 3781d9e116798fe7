"""examples/labs: what its runner accepts, and that each lab is whole."""

import re
from pathlib import Path

import pytest

from tests.by_path import loaded

LABS = Path(__file__).parents[2] / "examples" / "labs"
TEXTS = sorted(LABS.glob("[0-9][0-9]-*.md"))


run = loaded(LABS / "run.py")

PODS = "web-7d9f-x2k4p 10.244.1.2\nweb-7d9f-z5b6c 10.244.2.2"


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        ("web  ClusterIP   10.96.0.7  5s", "web ClusterIP 10.110.3.44   2m3s\n"),
        ("web-7dfb84575d-b7smn  1/1", "web-66db474bb7-64mdf 1/1"),
        ("NODE node-1", "NODE kind-worker2"),
        ("80:31234/TCP", "80:30080/TCP"),
        ("a\n...\nd", "a\nb\nc\nd"),
        ("a\n...\nd", "a\nd"),
        ("a\n...", "a\nb\nc"),
        ("...\nc", "a\nb\nc"),
        ("curl: (7) Failed ...", "curl: (7) Failed to connect"),
    ],
)
def test_what_differs_from_run_to_run_is_no_difference(shown: str, found: str) -> None:
    assert run.Seen().objection(shown, found) == ""


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        ("web  ClusterIP   10.96.0.7  5s", "web NodePort 10.96.0.7 5s"),
        ("web-7dfb84575d-b7smn  1/1", "shop 1/1"),
        ("web-7dfb84575d-b7smn  1/1", "web-66db474bb7-64mdf 0/1"),
        ("80:31234/TCP", "80/TCP"),
        ("a\n...\nd", "a\nb"),
        ("curl: (7) Failed ...", "curl: (6) Could not resolve"),
        ("a", "a\nb"),
        ("a\nb", "a"),
        ("a.b", "acb"),
        ("10.0.0.1\n10.0.0.2", "10.1.0.1\n10.1.0.1"),
    ],
)
def test_what_else_differs_is_one(shown: str, found: str) -> None:
    assert run.Seen().objection(shown, found)


@pytest.mark.parametrize(
    ("shown", "found", "verdict"),
    [
        ("10.244.2.2,10.244.1.2", "10.9.0.5,10.9.0.6", "right"),
        ("10.244.2.2,10.244.1.2", "10.9.0.6,10.9.0.5", "right"),
        ("10.244.2.2,10.244.1.2", "10.9.0.5,10.9.0.7", "wrong"),
        ("10.244.2.2,10.244.1.9", "10.9.0.5,10.9.0.7", "right"),
        ("10.244.2.2,10.244.1.9", "10.9.0.5,10.9.0.6", "wrong"),
        ("Hostname: web-7d9f-x2k4p", "Hostname: web-7d9f-bbbbb", "right"),
        ("Hostname: web-7d9f-x2k4p", "Hostname: web-7d9f-ddddd", "wrong"),
    ],
)
def test_what_the_text_shows_again_must_be_known(shown: str, found: str, verdict: str) -> None:
    seen = run.Seen()
    assert seen.objection(PODS, "web-7d9f-bbbbb 10.9.0.5\nweb-7d9f-ccccc 10.9.0.6") == ""
    assert bool(seen.objection(shown, found)) == (verdict == "wrong")


def test_a_text_becomes_steps() -> None:
    text = "# T\n```console\n$ a\nx\n\ny\n\n$ b <<E\n> c\n> E\n```\n$ no\n## Clean up\n```console\n$ d\n```\n"
    assert list(run.steps(text)) == [
        run.Step("", 3, "a", "x\n\ny"),
        run.Step("", 8, "b <<E\nc\nE", ""),
        run.Step("Clean up", 15, "d", ""),
    ]


def test_each_lab_is_in_the_list_of_the_readme() -> None:
    readme = (LABS / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| (\d\d) \| \[.*\]\((.*)\) \|", readme, re.MULTILINE) == [
        (lab.name[:2], lab.name) for lab in TEXTS
    ]


@pytest.mark.parametrize("lab", TEXTS, ids=[lab.stem for lab in TEXTS])
def test_a_lab_keeps_to_its_namespace_and_to_plain_commands(lab: Path) -> None:
    steps = list(run.steps(lab.read_text(encoding="utf-8")))
    namespace = f"lab-{lab.name[:2]}"
    assert [step.command for step in steps[:2]] == [
        f"kubectl create namespace {namespace}",
        f"kubectl config set-context --current --namespace={namespace}",
    ]
    assert [step.command.partition(" --")[0] for step in steps[-2:]] == [
        f"kubectl delete namespace {namespace}" + " lab-06-data" * (namespace == "lab-06"),
        "kubectl config set-context",
    ]
    assert steps[-1].section == "Clean up"
    # What cleans up runs in another shell.
    assert not [s for s in steps if s.section.startswith("Clean up") and "$" in s.command]
    for step in steps:
        first = re.sub(r"^(\w+=\S*\(|for \w+ in \S+; do )", "", step.command).split(maxsplit=1)[0]
        allowed = ("kubectl", "sed", *(("podwire", "for") if "podwire" in step.section else ()))
        assert first in allowed or re.match(r"\w+=\$\{", step.command), step
        for name in re.findall(r"-f (\S+\.yaml)", step.command):
            assert (LABS / name).exists(), name
