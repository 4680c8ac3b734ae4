"""How bytes travel between nodes: one protocol, three carriers (memory, simulated, ZeroMQ)."""
