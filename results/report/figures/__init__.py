"""Drawing kinds: each takes a tidy table and draws it; none computes a statistic."""
