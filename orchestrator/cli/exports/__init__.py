"""What leaves a sweep: networks as files, and submissions to leaderboards."""
