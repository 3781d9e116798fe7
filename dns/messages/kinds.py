"""Pure: names of record types, classes and codes as people write them -> numbers."""

from __future__ import annotations

from typing import Final

from podwire.dns.messages.message import Kind, Rcode

CLASSES: Final = {"IN": 1, "CH": 3, "HS": 4, "NONE": 254, "ANY": 255}

# Types that only Corefiles mention; nothing here looks into their records.
_OTHERS: Final = {
    "MD": 3, "MF": 4, "MB": 7, "MG": 8, "MR": 9, "NULL": 10, "MINFO": 14, "RP": 17, "AFSDB": 18,
    "X25": 19, "ISDN": 20, "RT": 21, "SIG": 24, "KEY": 25, "PX": 26, "GPOS": 27, "LOC": 29,
    "NXT": 30, "EID": 31, "NIMLOC": 32, "ATMA": 34, "KX": 36, "CERT": 37, "DNAME": 39, "APL": 42,
    "SSHFP": 44, "IPSECKEY": 45, "DHCID": 49, "NSEC3": 50, "NSEC3PARAM": 51, "TLSA": 52,
    "SMIMEA": 53, "HIP": 55, "NINFO": 56, "RKEY": 57, "TALINK": 58, "CDS": 59, "CDNSKEY": 60,
    "OPENPGPKEY": 61, "CSYNC": 62, "ZONEMD": 63, "SPF": 99, "UINFO": 100, "UID": 101, "GID": 102,
    "UNSPEC": 103, "NID": 104, "L32": 105, "L64": 106, "LP": 107, "EUI48": 108, "EUI64": 109,
    "TKEY": 249, "TSIG": 250, "MAILB": 253, "MAILA": 254, "URI": 256, "AVC": 258, "TA": 32768,
    "DLV": 32769,
}  # fmt: skip

_MORE_CODES: Final = {
    "BADSIG": 16, "BADKEY": 17, "BADTIME": 18, "BADMODE": 19, "BADNAME": 20, "BADALG": 21,
    "BADTRUNC": 22, "BADCOOKIE": 23,
}  # fmt: skip


def kind_of(name: str) -> int | None:
    """Return the number of a record type; None: there is no such type."""
    if name in Kind.__members__:
        return Kind[name].value
    return _OTHERS.get(name)


def rcode_of(name: str) -> int | None:
    """Return the number of a response code; None: there is no such code."""
    if name in Rcode.__members__:
        return Rcode[name].value
    return {"NOTIMPL": 4, "YXRRSET": 7, "NXRRSET": 8, **_MORE_CODES}.get(name)
