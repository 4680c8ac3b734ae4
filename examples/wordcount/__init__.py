"""Map and reduce on a cluster: count the words of a directory of text files.

The files lie on agents by an attribute, ``data:a``, ``data:b``, ...: each is counted where it lies, and offers of
other agents are declined. A custom executor counts (map tasks) and adds counts up (reduce tasks); what it finds travels
in the data of status updates. A task that is lost with its worker is run again. The scheduler keeps a journal, so that
it too may be killed; each result counts once.
"""
