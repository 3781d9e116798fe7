"""Servers for the tests of the API server."""

import pytest

from podwire.emulator.apiserver import bootstrap
from podwire.testing.apiserver import SilentServer


@pytest.fixture
def server() -> SilentServer:
    """Return a server with what every cluster has."""
    made = SilentServer()
    bootstrap.fill(made.api, now=made.clock.now(), port=6443)
    return made
