"""Pruning: what each unit is worth, how much every module loses, and the network without it."""
