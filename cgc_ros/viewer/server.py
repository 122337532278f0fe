"""The web server under the viewer: viser, kept to one address, quiet, and off the network."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import rich
import viser

PORTS_TRIED = 20  # where the wanted one is taken


class ViewerError(ValueError):
    """The page cannot be served; the message says why and what to do."""


def open_server(host: str, port: int) -> viser.ViserServer:
    """Serve on `host` at `port`, or at the next free one; port 0 takes any. Raises ViewerError."""
    port = _free_port(host, port)
    with _quiet():
        server = viser.ViserServer(host, port, label="cgc_ros", verbose=False)
    # A page could ask for one: the map would leave this machine.
    server.request_share_url = _no_tunnel  # type: ignore[method-assign]
    server.gui.configure_theme(show_logo=False, show_share_button=False, brand_color=(28, 126, 214))
    return server


def close_server(server: viser.ViserServer) -> None:
    """Close the page for everybody and free the port."""
    with _quiet():
        server.stop()


def _free_port(host: str, port: int) -> int:
    """viser itself tries a thousand ports without saying why each failed, and never gives up on a wrong host."""
    if not 0 <= port <= 65535:
        raise ViewerError(f"the viewer's port must be 0..65535, got {port}")
    for candidate in range(port, min(port + PORTS_TRIED, 65536)):
        try:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, candidate, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
                return candidate
        except PermissionError as error:
            raise ViewerError(f"port {candidate} needs privileges ({error}): choose one from 1024 on") from error
        except socket.gaierror as error:
            raise ViewerError(f"no such host {host!r} ({error}): give an address of this machine") from error
        except OSError as error:
            reason = error
    raise ViewerError(
        f"cannot serve the viewer on {host}, ports {port} to {candidate} ({reason}): "
        "give an address of this machine and a free port"
    )


def _no_tunnel(verbose: bool = True) -> None:
    """In place of ViserServer.request_share_url."""


@contextmanager
def _quiet() -> Iterator[None]:
    """viser prints when it starts and stops; standard output belongs to the program that runs the viewer."""
    console = rich.get_console()
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before
