"""What the levels of one factor do: means, effects, pairwise tests, ranks, images one by one."""
