"""As whom a container runs."""

from typing import Any

import msgspec
import pytest

from podwire.emulator.images.catalogue import Image
from podwire.emulator.kubelet.launch import user_of
from podwire.kube.objects import Container, Pod


@pytest.mark.parametrize(
    ("image", "pod", "container", "user"),
    [
        ("", {}, {}, ""),
        ("www:www", {}, {}, "www:www"),
        ("www", {"runAsUser": 1000}, {}, "1000"),
        ("www", {"runAsUser": 1000}, {"runAsUser": 2000}, "2000"),
        ("www", {"runAsUser": 1000, "runAsGroup": 3000}, {"runAsUser": 0}, "0:3000"),
        ("www:www", {"runAsGroup": 3000}, {}, "www:3000"),
        ("", {"runAsGroup": 3000}, {}, "0:3000"),
    ],
)
def test_the_container_before_the_pod_before_the_image(
    image: str, pod: dict[str, Any], container: dict[str, Any], user: str
) -> None:
    made = msgspec.convert({"name": "c", "securityContext": container}, Container)
    owner = msgspec.convert({"metadata": {"name": "p"}, "spec": {"securityContext": pod}}, Pod)
    assert user_of(owner, made, Image("i", "", user=image)) == user
