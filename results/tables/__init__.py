"""The tables: their columns, the storage root that holds them, how they are read and written."""
