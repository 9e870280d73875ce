"""Which addresses are this machine's own."""

from ipaddress import ip_address


def is_loopback(host: str | None) -> bool:
    """Whether a host's name or number, as in an address, is this machine's own (RFC 6761, RFC 1122).

    What stands there is reached without the proxy that the environment names: the proxy's localhost is
    another.
    """
    name = (host or "").strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
