"""What lets others do a sweep again: bundles, their trials computed anew, words for a paper."""
