#!/usr/bin/env python3
"""Receives webhooks and prints what they carry: `webhook.py [PORT]`. One line for each CloudEvent."""

import http.server
import json
import sys


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        for event in body if isinstance(body, list) else [body]:
            print(event["id"], json.dumps(event["data"]), flush=True)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


port = int(sys.argv[1]) if len(sys.argv) > 1 else 8099
try:
    http.server.ThreadingHTTPServer(("127.0.0.1", port), Receiver).serve_forever()
except KeyboardInterrupt:
    pass
