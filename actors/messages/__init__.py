"""Every message between the components of a cluster, one file per conversation."""
