"""What share of the variance each factor has, with intervals, and the comparison of two shares."""
