"""The usual service in Python: socket-activated, and it keeps running."""
import socket

from systemd import daemon

[fd] = daemon.listen_fds()
listener = socket.socket(fileno=fd)
while True:
    connection, address = listener.accept()
    connection.sendall(b"Hello! Your knock awakened me, just for you.\n")
    connection.close()
