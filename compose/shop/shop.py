"""A shop in two halves, as an application of your own would be: no line of it knows of podwire.

- shop.py stock    answers on port 8080 with its own address
- shop.py front    answers on port 8000 with what each replica of the stock says
"""

import contextlib
import socket
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def stock() -> str:
    """Return what one replica has."""
    return f"{socket.gethostbyname(socket.gethostname())} has 7 teapots\n"


def front() -> str:
    """Return what all replicas have: the headless Service gives the address of each."""
    found = socket.getaddrinfo("stock", 8080, socket.AF_INET, socket.SOCK_STREAM)
    lines: list[str] = []
    for address in sorted({str(place[4][0]) for place in found}):
        with urllib.request.urlopen(f"http://{address}:8080/", timeout=2) as answer:
            lines.append(answer.read().decode())
    return "".join(lines)


class Page(BaseHTTPRequestHandler):
    """Answers every GET with the text of this half."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer; what went wrong on the way is the visitor's answer as well."""
        try:
            text, status = HALVES[sys.argv[1]][1](), 200
        except OSError as error:
            text, status = f"the stock does not answer: {error}\n", 502
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):  # the visitor has left
            self.wfile.write(text.encode())

    def log_message(self, form: str, *words: object) -> None:
        """Print a line for each visitor from outside; health checks come from within."""
        if self.client_address[0] != "127.0.0.1":
            super().log_message(form, *words)


HALVES = {"stock": (8080, stock), "front": (8000, front)}

if __name__ == "__main__":
    with ThreadingHTTPServer(("", HALVES[sys.argv[1]][0]), Page) as server:
        server.serve_forever()
