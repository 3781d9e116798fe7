"""Every program that the fork server can run without exec, by name."""

from collections.abc import Mapping

from podwire.cni import __main__ as cni
from podwire.dns import program as dns
from podwire.emulator.images import agnhost, echo, pause, web
from podwire.emulator.sandbox.container import BuiltIn
from podwire.emulator.trace import agent as capture
from podwire.proxy import program as proxy

BUILTINS: Mapping[str, BuiltIn] = {
    "agnhost": agnhost.main,
    "capture": capture.main,
    "cni": cni.main,
    "dns": dns.main,
    "echo": echo.main,
    "pause": pause.main,
    "proxy": proxy.main,
    "web": web.main,
}
