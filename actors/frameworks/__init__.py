"""Frameworks that come with Kaon, written with the same scheduler actor that everybody writes theirs with."""
