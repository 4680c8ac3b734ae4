"""The actor runtime: how the parts of a cluster talk, live and fail.

A process runs one :class:`runtime.node.Node`; a node runs actors; actors exchange typed messages. What libprocess is
to Mesos, this package is to Kaon.
"""

__version__ = "0.1.0"
