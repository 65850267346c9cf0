"""The command line, and what people see while a sweep runs."""
