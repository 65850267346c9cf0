"""The report: what is found, drawn and said of a sweep, as one page and its files."""
