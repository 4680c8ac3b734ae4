"""The policies that come with Kaon keep the contract that all policies must keep."""

from __future__ import annotations

from allocator.contract import PolicyContract
from allocator.drf import DRF
from allocator.priority import StrictPriority
from allocator.random_order import RandomOrder


class TestDRF(PolicyContract):
    policy_class = DRF


class TestStrictPriority(PolicyContract):
    policy_class = StrictPriority


class TestRandomOrder(PolicyContract):
    policy_class = RandomOrder
