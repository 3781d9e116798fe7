"""The shop's own tests: do its manifests route requests as the shop needs them?"""

from pathlib import Path

import pytest

from podwire.testing.cluster import Cluster

MANIFEST = Path(__file__).with_name("shop.yaml")


@pytest.fixture
async def shop(podwire_session_cluster: Cluster) -> Cluster:
    """Return the cluster with the shop in it; applying twice changes nothing."""
    await podwire_session_cluster.apply(MANIFEST)
    await podwire_session_cluster.ready("shop/catalog", "shop/front")
    return podwire_session_cluster


async def test_front_reaches_the_catalog_by_its_short_name(shop: Cluster) -> None:
    answer = await shop.pod("shop/front").get("http://catalog")

    assert answer.status == 200


async def test_the_request_goes_the_way_that_the_service_says(shop: Cluster) -> None:
    trace = await shop.trace("shop/front", "http://catalog")

    assert trace.confirmed


async def test_a_request_is_seen_at_its_client(shop: Cluster) -> None:
    async with shop.capture("shop/front") as packets:
        await shop.pod("shop/front").get("http://catalog")

    assert any(packet.haslayer("TCP") and packet["TCP"].dport == 80 for packet in packets)
