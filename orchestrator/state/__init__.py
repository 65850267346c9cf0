"""What a storage root knows of a sweep: artifacts, rows, leases, and so what is left to do."""
