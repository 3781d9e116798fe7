"""Every program that the zygote can run without exec, by name (the supervisor has the others)."""

from collections.abc import Mapping

from podwire.dns import program as dns
from podwire.emulator.images import agnhost, echo, external, web
from podwire.emulator.sandbox.container import BuiltIn
from podwire.emulator.trace import agent as capture
from podwire.emulator.trace import ask, fetch
from podwire.proxy import program as proxy

BUILTINS: Mapping[str, BuiltIn] = {
    "agnhost": agnhost.main,
    "ask": ask.main,
    "capture": capture.main,
    "dns": dns.main,
    "echo": echo.main,
    "external": external.main,
    "fetch": fetch.main,
    "proxy": proxy.main,
    "web": web.main,
}
