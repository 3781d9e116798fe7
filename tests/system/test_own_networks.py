"""A cluster of ten nodes with networks of its user's choice, by plain routes: from a file, whole."""

from pathlib import Path

from tests.system.command_line import User
from tests.system.conftest import CLIENT, WEB

CONFIG = (
    """
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
networking:
  podSubnet: 172.20.0.0/16
  serviceSubnet: 172.31.0.0/20
  underlay: 10.89.0.0/24
  backend: host-gw
nodes:
"""
    + "- role: worker\n" * 10
)


def test_ten_nodes_in_other_networks(user: User, tmp_path: Path) -> None:
    config, objects = tmp_path / "cluster.yaml", tmp_path / "web.yaml"
    config.write_text(CONFIG)
    objects.write_text(
        WEB.replace(
            "spec:\n  selector: {app: web}", "spec:\n  type: NodePort\n  selector: {app: web}"
        ).replace("{port: 80, t", "{port: 80, nodePort: 30080, t")
        + "---"
        + CLIENT
    )
    user.up("--config", str(config), "-f", str(objects))

    def said(place: str, *command: str) -> str:
        done = user.podwire("exec", place, "--", *command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "nameserver 172.31.0.10" in said("client", "cat", "/etc/resolv.conf")
    assert "mtu 1500" in said("client", "ip", "link", "show", "eth0")
    routes = said("node/node-10", "ip", "route").splitlines()
    assert sum(" via 10.89.0." in route for route in routes) == 10  # nine nodes, and the router
    for place, url in (("client", "http://web-svc"), ("external", "http://10.89.0.19:30080")):
        assert said(place, "curl", "-sS", "--max-time", "5", "-w", "%{http_code}", url).endswith(
            "200"
        )
