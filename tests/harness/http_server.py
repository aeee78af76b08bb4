"""A server that takes what is posted, of Python's own library: `http_server.py PORT FILE [--token T] [--tls CERT KEY]`.

Each request that is taken or refused is a line of FILE, written before it is answered: path, headers, body. The type of
an event says how it is answered:

  refuse     422, for good
  later      503 with retry-after the first time its id comes, then taken
  hang-up    taken, but the first time its id comes the connection is closed instead of an answer
  elsewhere  308
"""

import argparse
import http.server
import json
import os
import socketserver
import ssl
import threading

arguments = argparse.ArgumentParser()
arguments.add_argument("port", type=int)
arguments.add_argument("file")
arguments.add_argument("--token")
arguments.add_argument("--tls", nargs=2)
arguments = arguments.parse_args()

file = os.open(arguments.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
lock = threading.Lock()
seen = set()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_OPTIONS(self):
        if self.is_welcome():
            headers = {"WebHook-Allowed-Origin": self.headers.get("WebHook-Request-Origin", "*")}
            self.answer(200, headers)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if not self.is_welcome():
            return
        events = events_of(self.headers, body)
        with lock:
            again = {id for id, _ in events} & seen
            kinds = {kind for id, kind in events if kind not in ("later", "hang-up") or id not in again}
            seen.update(id for id, _ in events)
            if "later" in kinds:
                return self.answer(503, {"Retry-After": "1"})
            if "elsewhere" in kinds:
                return self.answer(308, {"Location": "/other"})
            line = {"path": self.path, "headers": dict(self.headers.items()), "body": body.decode("latin-1")}
            line["refused"] = "refuse" in kinds
            os.write(file, json.dumps(line).encode() + b"\n")
        if "hang-up" in kinds:
            self.close_connection = True
        elif "refuse" in kinds:
            self.answer(422, {}, b"not this one")
        else:
            self.answer(204)

    def is_welcome(self):
        is_welcome = arguments.token is None or self.headers["authorization"] == f"Bearer {arguments.token}"
        if not is_welcome:
            self.answer(401, {"WWW-Authenticate": "Bearer"}, b"who are you?")
        return is_welcome

    def answer(self, status, headers={}, body=b""):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if body:
            self.wfile.write(body)

    def log_message(self, *_):
        pass


def events_of(headers, body):
    """Id and type of each event of a message."""
    kind = headers.get("content-type", "")
    if kind.startswith("application/cloudevents-batch+json"):
        return [(event["id"], event["type"]) for event in json.loads(body)]
    if kind.startswith("application/cloudevents+json"):
        event = json.loads(body)
        return [(event["id"], event["type"])]
    return [(headers["ce-id"], headers["ce-type"])]


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 64


server = Server(("127.0.0.1", arguments.port), Handler)
if arguments.tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*arguments.tls)
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
