"""A policy of one's own: best fit."""
