from typing import TYPE_CHECKING, Any

import pytest

from podwire.emulator.trace.nearest import about

if TYPE_CHECKING:
    from tests.unit.emulator.trace.conftest import Bench


def external(where: str, target: str) -> dict[str, Any]:
    namespace, name = where.split("/")
    return {
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"type": "ExternalName", "externalName": target},
    }


NOT_THERE = "there is no Service {} in namespace {}"


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("web-scv", NOT_THERE.format("web-scv", "default") + "; did you mean web-svc?"),
        ("Web-Scv", NOT_THERE.format("web-scv", "default") + "; did you mean web-svc?"),
        ("nothing", NOT_THERE.format("nothing", "default")),
        ("cart", "Service shop/cart would be cart.shop"),
        ("cart.default", "Service shop/cart would be cart.shop"),
        ("carts.shop", NOT_THERE.format("carts", "shop") + "; did you mean cart?"),
        ("cart.shp", "Service shop/cart would be cart.shop"),
        ("nothing.shp", "there is no namespace shp; did you mean shop?"),
        ("nothing.elsewhere", ""),
        ("www.example.com", ""),
        ("cart.shp.svc", "there is no namespace shp; did you mean shop?"),
        ("cart.nowhere.svc.cluster.local.", "there is no namespace nowhere"),
        ("carts.shop.svc.cluster.local", NOT_THERE.format("carts", "shop") + "; did you mean cart?"),
        ("db-9.db", "Service default/db has no ready endpoint db-9"),
        ("db-9.db.default.svc", "Service default/db has no ready endpoint db-9"),
        ("db", "it is headless: Service default/db has no ready endpoints: its selector app=db"
               " matches no pod (pods there have app=client or app=web)"),
        ("peers", ""),
        ("10-244-1-6.peers", ""),
        ("10-244-1-9.peers", "Service default/peers has no ready endpoint 10-244-1-9"),
        ("_http._tcp.web-svc.default.svc", "Service default/web-svc has no port http of TCP"),
        ("out", "Service default/out is an alias of gone.default.svc.cluster.local, which has no"
                " address"),
        ("a.out", "Service default/out is an alias of gone.default.svc.cluster.local: no name is"
                  " below it"),
        ("address", "Service default/address has externalName 10.1.2.3, which is an address and"
                    " must be a name"),
        ("web-svc", ""),
        ("shop.svc.cluster.local", ""),
        ("kubernetes.cluster.local", ""),
        ("empty", NOT_THERE.format("empty", "default")),
        ("web.empty", NOT_THERE.format("web", "empty")),
    ],
)  # fmt: skip
def test_what_the_objects_say_of_a_name(bench: "Bench", host: str, said: str) -> None:
    snapshot = bench.cluster(
        bench.service("shop/cart", "10.96.20.1"),
        bench.service("default/db", "None", app="db"),
        bench.service("default/peers", "None"),
        bench.slice("default/peers", "10.244.1.6 default/web-0"),
        external("default/out", "gone.default.svc.cluster.local"),
        external("default/address", "10.1.2.3"),
        {"kind": "Namespace", "metadata": {"name": "empty"}},
    )
    assert about(snapshot, host, "default", "cluster.local") == said
