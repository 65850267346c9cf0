"""One job, done where a worker is: out of storage, into storage."""
