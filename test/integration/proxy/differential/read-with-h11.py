"""Reads each text of a JSON list on stdin with h11 as a server; writes a list of lists: METHOD TARGET BODY, or an error."""

import json
import sys

import h11


def read(data):
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    connection.receive_data(b"")
    found = []
    body = b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            return found + [f"error: {error}"]
        if isinstance(event, h11.Request):
            request, body = event, b""
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            parts = [request.method, request.target] + ([body] if body else [])
            found.append(b" ".join(bytes(part) for part in parts).decode("latin-1"))
            connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.their_state is not h11.DONE:
                return found
            connection.start_next_cycle()
        else:
            return found


json.dump([read(text.encode("latin-1")) for text in json.load(sys.stdin)], sys.stdout)
