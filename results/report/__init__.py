"""The report: findings of a sweep, drawn and said on one page and in its files."""
