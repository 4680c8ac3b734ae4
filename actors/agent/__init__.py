"""The agent: runs tasks in containers on one machine, and says what becomes of them until somebody has heard it."""
