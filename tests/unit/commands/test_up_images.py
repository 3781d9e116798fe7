"""`podwire up --image NAME=COMMAND`: what runs under an image's name, said at the start."""

import argparse
from pathlib import Path

import pytest

from podwire.commands import cluster_options
from podwire.emulator.config import ClusterConfig
from podwire.errors import UsageError

HEAD = "kind: Cluster\napiVersion: podwire.dev/v1alpha1\n"


def asked(*words: str) -> ClusterConfig:
    parser = argparse.ArgumentParser()
    cluster_options.configure(parser)
    parser.add_argument("--name")
    return cluster_options.cluster_config(parser.parse_args(words))


def test_a_command_is_split_as_a_shell_would() -> None:
    images = asked("--image", "r.example.com:5000/a=run 'x y' --k=v", "--image", "b=true").images
    assert images == {"r.example.com:5000/a": ("run", "x y", "--k=v"), "b": ("true",)}


def test_options_win_over_the_file_image_by_image(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(HEAD + "images: {a: from file, b: from file}\n")
    images = asked("--config", str(file), "--image", "b=from option").images
    assert images == {"a": ("from", "file"), "b": ("from", "option")}


@pytest.mark.parametrize(
    ("word", "complaint"),
    [
        ("python", "it says no command"),
        ("python=", "it says no command"),
        ("=python3", "it says no name"),
        ("python='python3", "No closing quotation"),
    ],
)
def test_what_is_no_image(word: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        asked("--image", word)
    assert str(caught.value).startswith(f"--image {word}: {complaint}\n  write NAME=")


def test_paths_are_beside_the_file_and_beside_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "cluster.yaml").write_text(
        "kind: Cluster\napiVersion: podwire.dev/v1alpha1\nimages: {shop/cart: python3 ./cart.py}\n"
    )
    monkeypatch.chdir(tmp_path)

    images = asked("--config", "sub/cluster.yaml", "--image", "shop/till=./till").images

    assert images == {
        "shop/cart": ("python3", f"{tmp_path}/sub/cart.py"),
        "shop/till": (f"{tmp_path}/till",),
    }
