"""Opens connections to itself until no port is left."""

import socket

held = []
server = socket.create_server(("127.0.0.1", 45455))
while True:
    held.append(socket.create_connection(("127.0.0.1", 45455)))
    held.append(server.accept()[0])
