"""The usual socket-activated script, with python3-systemd."""
import socket

from systemd import daemon

[fd] = daemon.listen_fds()
listener = socket.socket(fileno=fd)
connection, address = listener.accept()
connection.sendall(b"Hello! Your knock awakened me, just for you.\n")
connection.close()
