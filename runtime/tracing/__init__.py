"""What happened in a node: the flight recorder, and reports of failures."""
