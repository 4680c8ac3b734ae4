"""Nodes that talk over ZeroMQ: sockets, sessions, authentication and keys."""
