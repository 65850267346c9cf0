"""Ray as the executor: a cluster, its nodes, jobs as trials of Tune; no other room imports it."""
