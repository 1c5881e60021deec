"""Ray on 127.0.0.1. It imports nothing of the pack, so that the tools can load it by its path."""


def keep_loopback() -> None:
    """Keep Ray from replacing 127.0.0.1 by an address of the network. Only then do its servers listen on it alone."""
    from ray._private import services

    services.resolve_ip_for_localhost = lambda host: host
