"""How tasks run: processes, namespaces, cgroups and the containerizer actor."""
