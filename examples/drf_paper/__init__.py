"""The worked example of the paper on dominant resource fairness, on a real cluster.

A cluster of 9 CPUs and 18 GB; framework A's tasks need <1 CPU, 4 GB>, framework B's <3 CPUs, 1 GB>. Each wants ten
tasks, takes what it is offered one task at a time, and knows nothing of the other. Memory is what A uses most of (its
dominant resource), CPU what B does; equal dominant shares are three tasks of A (12 of 18 GB) and two of B (6 of 9
CPUs), two thirds each. Nobody tells them so: it is what the order of the master's offers leads to.

Ghodsi, Zaharia, Hindman, Konwinski, Shenker, Stoica: Dominant Resource Fairness: Fair Allocation of Multiple Resource
Types, NSDI 2011, section 4.1.
"""
