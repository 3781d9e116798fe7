import pytest

from podwire.kube.proxy_modes import with_mode


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: K\nmode: userspace\nclusterCIDR: x\n", "kind: K\nmode: nftables\nclusterCIDR: x\n"),
        ('kind: K\nmode: ""\n', "kind: K\nmode: nftables\n"),
        ("kind: K\nipvs:\n  mode: none\n", "kind: K\nipvs:\n  mode: none\nmode: nftables\n"),
        ("kind: K", "kind: K\nmode: nftables\n"),
    ],
)
def test_the_mode_of_a_configuration(text: str, expected: str) -> None:
    assert with_mode(text, "nftables") == expected
