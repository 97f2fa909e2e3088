#!/usr/bin/env python3
"""A service in the shape of Ollama that writes down what reached it, on a free port of 127.0.0.1, which stderr tells: `upstream.py [OWNER]`.

`POST /api/chat` answers in lines as the model's name says: `lines-20-gap-50` are 20 lines, 50 ms apart, and a last one;
`lines-20-gap-50-size-300` are lines of words.py, which name the owner and the question. `GET /active` tells how many answers are being given. Each request is one JSON line on stdout.
"""

import http.server
import json
import socketserver
import sys
import threading
import time

import words

OWNER = sys.argv[1] if len(sys.argv) > 1 else ""
LOCK = threading.Lock()
ACTIVE = 0


def count(step):
    global ACTIVE
    with LOCK:
        ACTIVE += step


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def record(self, **more):
        fields = {name.lower(): value for name, value in self.headers.items()}
        line = json.dumps({"from": self.client_address[0], "path": self.path, "fields": fields} | more)
        with LOCK:
            print(line, flush=True)

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/active":
            return self.answer(ACTIVE)
        self.record()
        return self.answer({"models": []})

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        _, lines, _, gap, *size = asked["model"].split("-")
        prompt = asked["messages"][0]["content"]
        question = words.read_question(prompt) if size else prompt
        self.record(question=question)
        self.send_response(200)
        self.send_header("content-type", "application/x-ndjson")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        count(1)
        try:
            for number in range(int(lines)):
                if size:
                    self.piece(words.answer_line(OWNER, question, number, int(size[1])))
                else:
                    self.line({"message": {"role": "assistant", "content": f"{number} "}, "done": False})
                time.sleep(int(gap) / 1000)
            self.piece(words.LAST_LINE)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True  # whoever asked has left
        finally:
            count(-1)

    def line(self, value):
        self.piece(json.dumps(value).encode() + b"\n")

    def piece(self, body):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body))

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_):
        pass  # a caller that breaks off is what is being tested


server = Server(("127.0.0.1", 0), Handler)
print("listening on port", server.server_port, file=sys.stderr, flush=True)
server.serve_forever()
