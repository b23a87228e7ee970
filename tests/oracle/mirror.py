"""Python's own web server with TLS, over one folder, on loopback: mirror.py CERTIFICATE KEY FOLDER prints its port and serves until it is ended."""

import functools
import http.server
import ssl
import sys

certificate, key, folder = sys.argv[1:]
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
