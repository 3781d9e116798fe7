"""`podwire up --resolv-conf FILE`: the resolver of the nodes, read before anything is started."""

import argparse
from pathlib import Path

import pytest

from podwire.commands import cluster_options
from podwire.emulator.config import ClusterConfig
from podwire.errors import UsageError


def asked(*words: str) -> ClusterConfig:
    parser = argparse.ArgumentParser()
    cluster_options.configure(parser)
    parser.add_argument("--name")
    return cluster_options.cluster_config(parser.parse_args(words))


def test_the_file_is_taken_over_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "nodes.conf"
    file.write_text("# ours\nnameserver 203.0.113.10\nsearch corp.example\noptions timeout:1\n")
    assert asked("--resolv-conf", str(file)).resolv_conf == file.read_text()
    assert asked().resolv_conf == ""


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read FILE"),
        ("nameserver\n", "cannot read FILE: nameserver list is empty"),
        ("search corp.example\n", "FILE has no nameserver line"),
        ("nameserver dns.example\n", "FILE: the nameserver 'dns.example' is no address"),
    ],
)
def test_a_file_that_is_no_resolver_is_refused(
    tmp_path: Path, content: str | None, words: str
) -> None:
    file = tmp_path / "nodes.conf"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError) as caught:
        asked("--resolv-conf", str(file))
    assert f"--resolv-conf: {words}".replace("FILE", str(file)) in str(caught.value)
