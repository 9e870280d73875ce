"""A model on one's own recordings: set some aside, train on the rest, judge on those before and after."""
