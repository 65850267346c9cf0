"""What is published of a sweep: its tables described for archives, and what a paper says of it."""
