"""Names below `localhost`, on machines whose resolver knows `localhost` only.

Azure's clients send files to `habeas.blob.localhost`. An operator gives the blob host a name in DNS, or a line in the hosts file; systemd's
resolver knows all names below `localhost`. A test may rely on neither, so its clients go through a proxy, as in many a company: one that
leads every name to this machine.
"""

import os
import socket
import threading


def _copy(source, target):
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def _serve(connection):
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connection.recv(4096)
        if not piece:
            return
        head += piece
    method, place = head.split(b" ", 2)[:2]
    assert method == b"CONNECT", method
    try:
        server = socket.create_connection(("127.0.0.1", int(place.rsplit(b":", 1)[1])))
    except OSError:
        # What a client wants to tell somebody else, such as how it is used, goes nowhere.
        connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        connection.close()
        return
    connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
    threading.Thread(target=_copy, args=(server, connection), daemon=True).start()
    _copy(connection, server)


def _listen(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=_serve, args=(connection,), daemon=True).start()


def start():
    """Starts the proxy; clients of this process find it in the environment, as clients do."""
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=_listen, args=(listener,), daemon=True).start()
    os.environ["HTTPS_PROXY"] = f"http://127.0.0.1:{listener.getsockname()[1]}"
    os.environ["NO_PROXY"] = "127.0.0.1"
