"""The Corefile on disk follows the ConfigMap."""

import logging
from pathlib import Path

import pytest

from podwire.emulator.compose.corefile import CorefileOnDisk
from podwire.kube.objects import ConfigMap, ObjectMeta


def config_map(name: str, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="kube-system"), data=data)


def test_the_file_is_what_the_config_map_says(tmp_path: Path) -> None:
    path = tmp_path / "Corefile"
    file = CorefileOnDisk(path)
    first, second = config_map("coredns", Corefile="one"), config_map("coredns", Corefile="two")
    file.look(None, config_map("kube-proxy", Corefile="another"))
    assert not path.exists()
    file.look(None, first)
    assert path.read_text() == "one"
    # Whoever reads it is another user.
    assert path.stat().st_mode & 0o777 == 0o644
    file.look(first, second)
    assert path.read_text() == "two"
    assert [one.name for one in tmp_path.iterdir()] == ["Corefile"]


@pytest.mark.parametrize("new", [None, config_map("coredns", Corefle="typo")])
def test_without_a_corefile_the_last_one_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, new: ConfigMap | None
) -> None:
    path = tmp_path / "Corefile"
    file = CorefileOnDisk(path)
    file.look(None, config_map("coredns", Corefile="one"))
    with caplog.at_level(logging.WARNING):
        file.look(config_map("coredns", Corefile="one"), new)
    assert path.read_text() == "one"
    assert "no Corefile in ConfigMap kube-system/coredns" in caplog.text
