"""Static partitions against policies that share, on one workload."""
