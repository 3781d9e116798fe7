"""Records as a zone file writes them, for tests to compare and to show."""

from ipaddress import IPv4Address, IPv6Address

from podwire.dns.messages.message import Data, Mx, Opaque, Record, Soa, Srv, Text, kind_name


def record_text(record: Record) -> str:
    return f"{record.name} {record.ttl} {kind_name(record.kind)} {data_text(record.data)}"


def data_text(data: Data) -> str:
    match data:
        case IPv4Address() | IPv6Address() | str():
            return str(data)
        case Srv():
            return f"{data.priority} {data.weight} {data.port} {data.target}"
        case Soa():
            times = f"{data.serial} {data.refresh} {data.retry} {data.expire} {data.minimum}"
            return f"{data.mname} {data.rname} {times}"
        case Mx():
            return f"{data.preference} {data.target}"
        case Text():
            return " ".join(
                f'"{part.decode("ascii", "backslashreplace")}"' for part in data.strings
            )
        case Opaque():
            return rf"\# {len(data.content)} {data.content.hex()}"
