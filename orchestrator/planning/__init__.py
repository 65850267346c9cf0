"""Plans: from a sweep file to its trials and the jobs that they need; no torch, no ray."""
