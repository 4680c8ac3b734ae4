"""What lives in a cluster: masters, agents, schedulers, executors and the command line."""
