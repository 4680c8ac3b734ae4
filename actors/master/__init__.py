"""The master: admits agents, subscribes frameworks, turns allocations into offers, relays tasks and their updates."""
