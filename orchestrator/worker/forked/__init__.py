"""Jobs in processes of their own, forked from one that has all imports done."""
