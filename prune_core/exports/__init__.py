"""Networks taken away: files that say what they hold, in the formats that others read."""
